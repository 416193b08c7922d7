"""Which dimensions the tensors of a run have, and what is noted of its operators."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .dimensions.axes import Axis, Dim, Dims, fix, fixed, is_fixed, leaves
from .dimensions.origins import Attribute, Traced

_INNER = (f"{Path(__file__).parent}{os.sep}", f"{Path(torch.__file__).parent}{os.sep}", "<")
"""How files begin whose code isn't a model's."""


@dataclass
class Operator:
    """An operator as it was dispatched.

    Attributes:
        path: of the module that was running.
        dims: of its results.
        macs: dimensions whose sizes multiply to its multiply-accumulates; None: it has none.
        times: another factor of them.
    """

    name: str
    path: str
    dims: list[Dims] = field(default_factory=list)
    macs: tuple[Dim, ...] | None = None
    times: int = 1


@dataclass
class ModuleCall:
    """One call of a module.

    Attributes:
        first, last: the operators that it ran, ``operators[first:last]``.
        inputs: dimensions of its first tensor; None: it had none.
        outputs: likewise.
        passes: its input reaches its output without a matrix product.
        plain: its output is a tensor.
    """

    path: str
    first: int
    last: int = 0
    inputs: Dims | None = None
    outputs: Dims | None = None
    passes: bool = False
    plain: bool = False


@dataclass
class Demand:
    """A number that was used as the size of a dimension, at a line of the model's code."""

    number: Traced
    dim: Dim
    path: str


class Labels:
    """Dimensions of every tensor of a run, by identity.

    ``names``: identity of a tensor of the model -> its name. ``path``: the modules that are running, innermost last.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.tensors: dict[str, Dims] = {}
        self.operators: list[Operator] = []
        self.calls: list[ModuleCall] = []
        self.attributes: dict[Attribute, Dim] = {}
        self.demands: list[Demand] = []
        self.unknown: dict[str, int] = {}
        self.path: list[str] = [""]
        self.pieces: list[tuple[Dim | None, Dim | None]] = []
        self.groups: Dim | None = None
        self._dims: dict[int, Dims] = {}
        self._reached: dict[int, frozenset[int]] = {}
        self._alive: list[Tensor] = []

    def of(self, tensor: Tensor) -> Dims:
        """The dimensions of a tensor. Those of a tensor that nothing is known of stay as they are."""
        dims = self._dims.get(id(tensor))
        if dims is None:
            name = self.names.get(id(tensor))
            if name is None:
                dims = [fixed(size) for size in tensor.shape]
            else:
                dims = [Axis(size, f"{name}:{d}") for d, size in enumerate(tensor.shape)]
                self.tensors[name] = dims
            self.put(tensor, dims)
        return dims

    def knows(self, tensor: Tensor) -> bool:
        return id(tensor) in self._dims

    def put(self, tensor: Tensor, dims: Iterable[Dim]) -> None:
        """Say what a tensor's dimensions are."""
        self._dims[id(tensor)] = list(dims)
        self._alive.append(tensor)  # its identity is its own as long as it lives

    def declare(self, name: str, tensor: Tensor, dims: Iterable[Dim]) -> None:
        """Say what the dimensions of a tensor of the model are before it is used."""
        self.put(tensor, dims)
        self.tensors[name] = self.of(tensor)

    def reached(self, tensor: Tensor) -> frozenset[int]:
        """Calls whose input reached this tensor without a matrix product."""
        return self._reached.get(id(tensor), frozenset())

    def reach(self, tensor: Tensor, calls: frozenset[int]) -> None:
        if calls:
            self._reached[id(tensor)] = self.reached(tensor) | calls
            self._alive.append(tensor)

    def fix(self, dims: Iterable[Dim | None], why: str) -> None:
        """Keep dimensions as they are, because of the line of the model's code that is running."""
        free = [dim for dim in dims if dim is not None and not is_fixed(dim)]
        if free:
            reason = self.place(why) if any(leaf.name for dim in free for leaf in leaves(dim)) else why
            for dim in free:
                fix(dim, reason)

    def place(self, why: str) -> str:
        """A reason with the line of the model's code that is running."""
        frame = sys._getframe(1)
        while frame.f_back is not None:
            file = frame.f_code.co_filename
            if not file.startswith(_INNER):
                parts = Path(file).parts
                short = "/".join(parts[parts.index("site-packages") + 1 :] if "site-packages" in parts else parts[-2:])
                return f"{why} ({short}:{frame.f_lineno})"
            frame = frame.f_back
        return f"{why} in {self.path[-1] or 'the model'}"


@dataclass(frozen=True)
class Call:
    """An operator that has run: its arguments by name, as its schema has them, and its results."""

    labels: Labels
    name: str
    arguments: Mapping[str, Any]
    results: Sequence[Tensor]
    operator: Operator

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def result(self) -> Tensor:
        return self.results[0]

    @property
    def tensors(self) -> list[Tensor]:
        """Its arguments that are tensors, in order."""
        return tensors_in(list(self.arguments.values()))

    def of(self, name: str) -> list[Dim]:
        """Dimensions of a tensor among the arguments."""
        return list(self.labels.of(self.arguments[name]))

    def tensor(self, *names: str) -> Tensor:
        """The first of these arguments that is a tensor."""
        return next(value for name in names if isinstance(value := self.arguments.get(name), Tensor))

    def put(self, dims: Iterable[Dim], number: int = 0) -> None:
        """Say what the dimensions of a result are."""
        self.labels.put(self.results[number], dims)

    def put_rest(self) -> None:
        """Results after the first stay as they are."""
        for result in self.results[1:]:
            self.labels.put(result, [fixed(size) for size in result.shape])

    def fix(self, dims: Iterable[Dim | None], why: str) -> None:
        self.labels.fix(dims, why)

    def reason(self, why: str) -> str:
        """For :func:`search_spaces.tracing.dimensions.axes.unify`."""
        return f"{why} in {self.labels.path[-1] or 'the model'}"

    def count(self, *dims: Dim, times: int = 1) -> None:
        """Its multiply-accumulates are the product of these sizes."""
        self.operator.macs, self.operator.times = dims, times


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors in a value: in lists, tables and objects with a table of their own (outputs of models)."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in tensors_in(value)]
    return []
