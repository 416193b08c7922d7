"""The operators of a model as it is deployed, with amounts as expressions: those of every network at once.

The tracer of ``search_spaces.operators`` notes the operators; the labels say what their numbers consist of; deployment
joins them as for a network by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import UserError
from search_spaces.operators.deploy import deploy
from search_spaces.operators.operator import Op
from search_spaces.operators.tracer import Tracer

from ..dimensions.axes import Dim, size_of
from ..dimensions.expressions import Amount, product
from ..inputs import Inputs
from ..labels import Labels, Operator
from ..recorder import label_results
from ..trace import Reader, Trace, trace


class _Noted:
    """Tensors of an operator that was noted, until its results have labels."""

    def __init__(self, inputs: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        self.inputs, self.outs = list(inputs), list(outs)
        self.operator: Operator | None = None


class SymbolicTracer(Tracer):
    """Notes operators as the tracer of one network does, and the dimensions of their tensors."""

    def __init__(self, labels: Labels, image: Tensor) -> None:
        self.labels = labels
        self.noted: list[_Noted] = []
        self.constants: list[tuple[int, Tensor]] = []
        super().__init__(image)
        self.path = labels.path

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            before = len(self.noted)
            out = super().__torch_dispatch__(func, types, args, kwargs)
            operator = label_results(self.labels, func, args, kwargs or {}, out)
            for noted in self.noted[before:]:
                noted.operator = operator
        return out

    def weigh(self, tensor: Tensor) -> int:
        elements = super().weigh(tensor)
        if elements != tensor.numel():
            return elements
        self.labels.of(tensor)
        return _Weight(elements, tensor)

    def note(
        self,
        kind: str,
        rule: str,
        inputs: list[Tensor],
        outs: list[Tensor],
        macs: int,
        weights: int,
        channels: int,
    ) -> None:
        self.noted.append(_Noted(inputs, outs))
        super().note(kind, rule, inputs, outs, macs, weights, channels)

    def deployed(self, reader: Reader) -> list[Op]:
        """The operators as deployed, with amounts."""

        def amount(tensor: Tensor) -> Amount:
            return product(reader.layouts(self.labels.of(tensor)))

        elements: list[int] = list(self.elements)
        for note, noted in zip(self.notes, self.noted, strict=True):
            for number, out in zip(note.writes, noted.outs, strict=True):
                if elements[number] == out.numel():
                    elements[number] = amount(out)
            note.reads = [
                (number, amount(tensor)) for (number, _), tensor in zip(note.reads, noted.inputs, strict=True)
            ]
            note.written = sum((amount(out) for out in noted.outs), start=Amount([]))
            dims = self.labels.of(noted.outs[0])
            if note.macs and noted.operator is not None and noted.operator.macs is not None:
                note.macs = product(reader.layouts(noted.operator.macs), noted.operator.times)
            plain = not isinstance(note.weights, _Weight) and note.weights == note.channels  # of a batch norm
            note.channels = _channels(note.kind, _weights(note.channels, amount), dims, reader)
            note.weights = note.channels if plain else _weights(note.weights, amount)
        return deploy(self.notes, elements)


class _Weight(int):
    """Elements of a constant, and sums of such; the tensors are remembered."""

    tensors: list[Tensor]

    def __new__(cls, value: int, *tensors: Tensor) -> _Weight:
        self = super().__new__(cls, value)
        self.tensors = list(tensors)
        return self

    def __add__(self, other: int) -> _Weight:
        more = other.tensors if isinstance(other, _Weight) else []
        return _Weight(int(self) + int(other), *self.tensors, *more)

    __radd__ = __add__


def _weights(weights: int, amount: Callable[[Tensor], Amount]) -> int:
    """Elements of constants as an amount."""
    if not isinstance(weights, _Weight):
        return weights
    known = sum((amount(tensor) for tensor in weights.tensors), start=Amount([]))
    return known + (int(weights) - int(known))


def _channels(kind: str, channels: int, dims: Sequence[Dim], reader: Reader) -> int:
    """Channels of a result as an amount: its second dimension, or the last one of a matrix product."""
    if isinstance(channels, Amount):
        return channels
    order = [-1, -2, 1] if kind in ("linear", "matmul") else [1, -1]
    for d in order:
        if -len(dims) <= d < len(dims) and size_of(dims[d]) == channels:
            return product([reader.layout(dims[d])])
    return channels


@dataclass(frozen=True, eq=False)
class SymbolicOperators:
    """Operators of a model in execution order, as deployed; every number in them is an :class:`Amount`, or one that all
    networks share. ``trace`` is that of the run."""

    ops: tuple[Op, ...]
    trace: Trace


def read_deployed(model: nn.Module, inputs: Inputs) -> SymbolicOperators:
    """The operators of a model on ``meta``, in eval mode. Raises UserError where it is called with another thing than
    one tensor."""
    if len(inputs.positional) != 1 or inputs.named or not isinstance(inputs.positional[0], Tensor):
        raise UserError("the costs of a network with several inputs cannot be worked out yet")
    image = inputs.positional[0]
    tracers: list[SymbolicTracer] = []

    def make(labels: Labels) -> SymbolicTracer:
        tracers.append(SymbolicTracer(labels, image))
        return tracers[0]

    traced = trace(model, inputs, recorder=make)
    return SymbolicOperators(tuple(tracers[0].deployed(traced.reader)), traced)
