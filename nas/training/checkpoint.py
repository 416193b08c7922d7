"""The state of a training run as one safetensors file: weights, running statistics, optimizer, average, step.

There is no random state in it: every random choice of step k is drawn from a generator seeded with (seed, k).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.store.files import NewerFormat, load_tensors, save_tensors
from nas.store.records import CheckpointRecord
from nas.store.run import Run
from search_spaces.errors import UserError
from search_spaces.schema import read_content, to_json

_LARGEST = 1e12  # of an optimizer's settings

Slot = Tensor | float | None
"""A number or tensor that an optimizer keeps for a parameter."""
Option = bool | float | str | Sequence[float] | None
"""A setting of an optimizer's group of parameters, or the numbers of these."""


@dataclass(frozen=True)
class State:
    """Where a training run stands.

    Attributes:
        step: optimizer steps done.
        model: weights and running statistics of the largest model, by name.
        slots, groups: an optimizer's numbers by parameter and name, and its groups of parameters with their settings.
        average: exponential moving average of ``model``, empty where none is kept.
        seconds: spent training so far.
        scaler: of fp16, its state.
        health: of the loss, :meth:`nas.training.collapse.Guard.state`.
    """

    step: int
    model: dict[str, Tensor]
    slots: Mapping[int, Mapping[str, Slot]]
    groups: Sequence[Mapping[str, Option]]
    average: dict[str, Tensor]
    seconds: float
    scaler: Mapping[str, float | None] = field(default_factory=dict)
    health: Mapping[str, float] = field(default_factory=dict)


def capture(
    step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: Mapping[str, Tensor], seconds: float,
    scaler: Mapping[str, float | None] | None = None, health: Mapping[str, float] | None = None,
) -> State:  # fmt: skip
    """The current state; tensors are shared, not copied."""
    kept = optimizer.state_dict()
    return State(
        step, dict(model.state_dict()), kept["state"], kept["param_groups"], dict(average), seconds,
        scaler or {}, health or {},
    )  # fmt: skip


def save(run: Run, state: State) -> None:
    """Write the checkpoint; the one before stays beside it."""
    _write(_new(run), state)
    if run.checkpoint.exists():
        run.checkpoint.replace(run.previous)
    _new(run).replace(run.checkpoint)


def save_good(run: Run, state: State) -> None:
    """Write the state to go back to, in place of the last one."""
    _write(run.good, state)


def _write(path: Path, state: State) -> None:
    tensors = {f"model/{k}": v for k, v in state.model.items()} | {f"average/{k}": v for k, v in state.average.items()}
    scalars: dict[str, dict[str, float | None]] = {}
    for index, slots in state.slots.items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    record = CheckpointRecord(
        step=state.step, seconds=state.seconds, groups=[dict(group) for group in state.groups],
        scalars=scalars, scaler=dict(state.scaler), health=dict(state.health),
    )  # fmt: skip
    save_tensors(path, tensors, to_json(record))


def _new(run: Run) -> Path:
    """Where a finished checkpoint waits for its name; found here only after a crash between two renames."""
    return run.path / "checkpoint.new.safetensors"


def load(run: Run) -> tuple[State | None, str]:
    """The newest readable checkpoint (None: there is none) and a warning, empty if all is well. Raises UserError:
    checkpoints are there but none can be read, or the newest is of a later version."""
    problems = []
    for path in (_new(run), run.checkpoint, run.previous):
        if path.exists():
            try:
                state = read(path)
            except NewerFormat:  # falling back to an older one would lose what was done since
                raise
            except UserError as error:
                problems.append(str(error))
            else:
                note = f"{problems[0]}; continuing from {path.name}, step {state.step}" if problems else ""
                return state, note
    if problems:
        raise UserError(f"{problems[0]}; no older checkpoint is readable. To train again, remove {run.path}")
    return None, ""


def restore(run: Run, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Go on from a state of a training of so many ``steps``. Raises UserError: the state is of another network,
    optimizer or length."""
    here, known = model.state_dict(), optimizer.state_dict()["param_groups"]
    sizes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    groups, slots = state.groups, state.slots
    fits = (
        state.step <= steps
        and _alike(state.model, here)
        and (not state.average or _alike(state.average, here))
        and all(map(_same_kinds, groups, known))
        and [group["params"] for group in groups] == [group["params"] for group in known]
        and all(i < len(sizes) for i in slots)
        and _slots_fit(slots, sizes)
    )
    try:
        if not fits:
            raise ValueError
        model.load_state_dict(state.model)
        whole = [{**own, **group} for own, group in zip(known, groups, strict=True)]
        optimizer.load_state_dict({"state": slots, "param_groups": whole})
    except (ValueError, RuntimeError, KeyError, TypeError):
        raise UserError(
            f"{run.checkpoint} is not of this training: other tensors, optimizer or steps; "
            f"to train again, remove {run.path}"
        ) from None


def _alike(tensors: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> bool:
    return {k: (t.shape, t.dtype) for k, t in tensors.items()} == {k: (t.shape, t.dtype) for k, t in here.items()}


def _same_kinds(there: Mapping[str, Option], here: Mapping[str, Option]) -> bool:
    """Whether an optimizer's settings are of the types they have here; another version of torch may have more."""
    return all(_kind(there[key]) is _kind(here[key]) for key in there.keys() & here.keys()) and not any(
        abs(value) > _LARGEST for value in there.values() if isinstance(value, int | float)
    )


def _kind(value: Option) -> type:
    """The type of a setting; whole and other numbers are alike, and JSON makes lists of tuples."""
    return {int: float, tuple: list}.get(type(value), type(value))


def _slots_fit(slots: Mapping[int, Mapping[str, Slot]], sizes: Sequence[torch.Size]) -> bool:
    """Whether an optimizer's numbers for its parameters are of their shapes, or single ones for every parameter."""
    known = [(name, v, sizes[i]) for i, own in slots.items() for name, v in own.items()]
    shaped = {name for name, v, size in known if isinstance(v, Tensor) and v.shape == size and v.numel() > 1}
    return all(
        v.is_floating_point() and (v.shape == size or (v.numel() == 1 and name not in shaped))
        if isinstance(v, Tensor)
        else v is None or isinstance(v, int | float)
        for name, v, size in known
    )


def read(path: Path) -> State:
    """The state in a file. Raises UserError where it is missing or damaged."""
    tensors, metadata = load_tensors(path)
    record = read_content(metadata, CheckpointRecord, path)
    model, average, kept = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
    parts = {"model": model, "average": average, "optimizer": kept}
    try:
        for key, tensor in tensors.items():
            room, name = key.split("/", 1)
            parts[room][name] = tensor
        slots: dict[int, dict[str, Slot]] = {int(i): dict(v) for i, v in record.scalars.items()}
        for key, tensor in kept.items():
            index, name = key.split("/", 1)
            slots.setdefault(int(index), {})[name] = tensor
    except (KeyError, ValueError):
        raise UserError(f"{path} is damaged: its tensors are not named as a checkpoint's") from None
    return State(record.step, model, slots, record.groups, average, record.seconds, record.scaler, record.health)
