"""The state of a training run as one safetensors file: weights, running statistics, optimizer, average, step.

There is no random state in it: every random choice of step k is drawn from a generator seeded with (seed, k).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import UserError

from .files import load_tensors, save_tensors
from .run import Run


@dataclass(frozen=True)
class State:
    """Where a training run stands.

    Attributes:
        step: optimizer steps done.
        model: weights and running statistics of the largest model, by name.
        optimizer: torch's own state dictionary.
        average: exponential moving average of ``model``, empty where none is kept.
        seconds: time spent training so far.
        scaler: numbers of the loss scaling, :meth:`nas.precision.Precision.state`.
        health: of the loss, :meth:`nas.guards.Guard.state`.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor]
    seconds: float
    scaler: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)


def capture(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    seconds: float,
    scaler: Mapping[str, Any] | None = None,
    health: Mapping[str, Any] | None = None,
) -> State:
    """The current state; tensors are shared, not copied."""
    return State(
        step, dict(model.state_dict()), optimizer.state_dict(), dict(average), seconds, dict(scaler or {}),
        dict(health or {}),
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


def load_good(run: Run) -> State:
    """The state to go back to. Raises UserError where it is missing or damaged."""
    return _read(*load_tensors(run.good))


def _write(path: Path, state: State) -> None:
    tensors = {f"model/{k}": v for k, v in state.model.items()} | {f"average/{k}": v for k, v in state.average.items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, slots in state.optimizer["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    metadata = {
        "step": state.step,
        "seconds": state.seconds,
        "groups": state.optimizer["param_groups"],
        "scalars": scalars,
        "scaler": state.scaler,
        "health": state.health,
    }
    save_tensors(path, tensors, metadata)


def _new(run: Run) -> Path:
    """Where a finished checkpoint waits for its name; found here only after a crash between two renames."""
    return run.path / "checkpoint.new.safetensors"


def load(run: Run) -> tuple[State | None, str]:
    """The newest readable checkpoint (None: there is none) and a warning, empty if all is well.

    Raises:
        UserError: checkpoints are there but none can be read.
    """
    problems = []
    for path in (_new(run), run.checkpoint, run.previous):
        if path.exists():
            try:
                state = _read(*load_tensors(path))
            except UserError as error:
                problems.append(str(error))
            except KeyError as error:
                problems.append(f"{path} lacks {error}")
            else:
                note = f"{problems[0]}; going on from {path.name}, step {state.step}" if problems else ""
                return state, note
    if problems:
        raise UserError(f"{problems[0]}; no older checkpoint is readable. To train anew, remove {run.path}")
    return None, ""


def _read(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> State:
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        room, name = key.split("/", 1)
        groups[room][name] = tensor
    slots: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in metadata["scalars"].items()}
    for key, tensor in groups["optimizer"].items():
        index, name = key.split("/", 1)
        slots.setdefault(int(index), {})[name] = tensor
    optimizer = {"state": slots, "param_groups": metadata["groups"]}
    more = {name: metadata.get(name, {}) for name in ("scaler", "health")}  # older checkpoints lack them
    return State(metadata["step"], groups["model"], optimizer, groups["average"], metadata["seconds"], **more)
