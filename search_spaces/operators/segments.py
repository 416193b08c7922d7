"""Operators of the parts of a network, each part run once.

The parts (segments, see ``space``) of the architectures of a space recur, and so do equal blocks of one stage: what a
part executes depends on how it is built and on the size of its input. :class:`SegmentTracer` runs whole models, but
leaves out the parts that it knows. Parts must follow one another as blocks of timm's models do: while one runs, nothing
but its input and what it makes itself is alive.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .deploy import deploy
from .operator import Op
from .tracer import Tracer, tensors_in

Key = tuple[int, tuple[torch.Size, ...]]


class _Known(NamedTuple):
    """What is known of a part: its operators, and the shape of its result."""

    ops: list[Op]
    shape: torch.Size


@dataclass
class SegmentTracer:
    """Traces models that share parts, by their module paths; ``""`` is everything outside the others.

    What is known of a part lies at the number of its :func:`structure`, which takes time to hash, and the shapes of its
    inputs.
    """

    paths: Sequence[str]
    structures: dict[Hashable, int] = field(default_factory=dict)
    known: dict[Key, _Known] = field(default_factory=dict)

    def traces(self, model: nn.Module, in_chans: int, resolutions: Iterable[int]) -> list[dict[str, list[Op]]]:
        """For each resolution the operators of each part, as a trace of the whole model groups them.

        An operator's path is its part's, or that of an equal part. ``model`` has all the parts; it is in eval mode, on
        ``meta``, and unchanged afterwards.
        """
        parts: dict[str, _Part] = {}
        for path in filter(None, self.paths):
            module = model.get_submodule(path)
            number = self.structures.setdefault(structure(module), len(self.structures))
            parts[path] = _Part(module, path, number, self.known)
        traces = []
        with torch.no_grad(), _in_place(model, parts):
            for resolution in resolutions:
                image = torch.empty(1, in_chans, resolution, resolution, device="meta")
                tracer = Tracer(image)
                for part in parts.values():
                    part.begin(tracer)
                with tracer:
                    model(image)
                traces.append(self._grouped(deploy(tracer.notes, tracer.elements), parts))
        return traces

    def _grouped(self, ops: Iterable[Op], parts: Mapping[str, _Part]) -> dict[str, list[Op]]:
        """Operators by part; remembers the parts that were run."""
        groups: dict[str, list[Op]] = {path: [] for path in self.paths}
        for op in ops:
            groups[op.path].append(op)
        for path, part in parts.items():
            if part.skipped is not None:
                groups[path] = part.skipped.ops
            elif part.ran is not None and groups[path]:
                key, shape = part.ran
                self.known[key] = _Known(groups[path], shape)
        return groups


_INTERNAL = frozenset(vars(nn.Module()))


def structure(module: nn.Module) -> Hashable:
    """Equal for modules that execute the same operators on equal inputs; rather different than wrongly equal.

    It holds names, classes, attributes and shapes of tensors.
    """
    parts: list[Hashable] = []
    for name, part in module.named_modules():
        attributes = tuple((key, _fixed(value)) for key, value in vars(part).items() if key not in _INTERNAL)
        tensors = (*part._parameters.items(), *part._buffers.items())
        parts.append((name, type(part), attributes, tuple((key, t if t is None else t.shape) for key, t in tensors)))
    return tuple(parts)


def _fixed(value: Any) -> Hashable:
    """A value that equals those of equal meaning; objects that cannot be compared equal nothing else."""
    if isinstance(value, list | tuple):
        return tuple(_fixed(v) for v in value)
    return value if isinstance(value, Hashable) else object()


class _Part(nn.Module):
    """Stands in for a part of a model: runs it, or skips it where it is known.

    Attributes:
        skipped: what was known of it, if it was skipped.
        ran: if it was run, just once, and gave one tensor: its key, and the shape of its result.
    """

    def __init__(self, module: nn.Module, path: str, number: int, known: Mapping[Key, _Known]) -> None:
        super().__init__()
        self.module, self.path, self.number, self.known = module, path, number, known

    def begin(self, tracer: Tracer) -> None:
        """Before each run of the model."""
        self.tracer = tracer
        self.skipped: _Known | None = None
        self.ran: tuple[Key, torch.Size] | None = None
        self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inputs = tensors_in([*args, *kwargs.values()])
        key = (self.number, tuple(t.shape for t in inputs))
        self.skipped = self.known.get(key)
        if self.skipped is not None:
            last = self.skipped.ops[-1]
            return self.tracer.skip(inputs, self.skipped.shape, last.macs > 0 and last.channels > 0)
        self.tracer.path.append(self.path)
        out = self.module(*args, **kwargs)
        self.tracer.path.pop()
        self.calls += 1
        self.ran = (key, out.shape) if isinstance(out, Tensor) and self.calls == 1 else None
        return out


@contextmanager
def _in_place(model: nn.Module, parts: Mapping[str, _Part]) -> Iterator[None]:
    """Put parts where their modules are, for a while."""
    for path, part in parts.items():
        model.set_submodule(path, part)
    try:
        yield
    finally:
        for path, part in parts.items():
            model.set_submodule(path, part.module)
