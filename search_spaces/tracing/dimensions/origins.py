"""Whole numbers that remember where they come from.

While a model is traced, whole numbers in attributes of modules, and sizes read off tensors, are of a subclass of int.
Arithmetic keeps the origin, so that a number which reaches ``view`` or ``split`` says which attribute or which
dimension has to follow when a dimension shrinks. A number without an origin is written into the code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .axes import Dim

_LONGEST = 64  # entries of a list that are followed


@dataclass(frozen=True)
class Attribute:
    """A number in a module: the module's path, the attribute, and the place in it where it is a list of (lists of)
    numbers."""

    path: str
    name: str
    place: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}.{self.name}".lstrip(".") + "".join(f"[{i}]" for i in self.place)


@dataclass(frozen=True, eq=False)
class SizeOf:
    """The size of a dimension."""

    dim: Dim


@dataclass(frozen=True, eq=False)
class Computed:
    """The result of a function of two numbers, at least one of which has an origin."""

    function: Callable[[int, int], int]
    left: int
    right: int


Origin = Attribute | SizeOf | Computed


class Traced(int):
    """A whole number with its origin."""

    origin: Origin

    def __new__(cls, value: int, origin: Origin) -> Traced:
        self = super().__new__(cls, value)
        self.origin = origin
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __neg__(self) -> Traced:
        return Traced(-int(self), Computed(operator.mul, -1, self))


_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


def _follow(name: str, function: Callable[[int, int], int]) -> None:
    """Teach :class:`Traced` an operator, on either side of it. Other numbers than whole ones have no origin."""

    def forward(self: Traced, other: Any) -> Any:
        if not isinstance(other, int):
            return getattr(int, f"__{name}__")(self, other)
        return Traced(function(int(self), int(other)), Computed(function, self, other))

    def backward(self: Traced, other: Any) -> Any:
        if not isinstance(other, int):
            return getattr(int, f"__r{name}__")(self, other)
        return Traced(function(int(other), int(self)), Computed(function, other, self))

    setattr(Traced, f"__{name}__", forward)
    setattr(Traced, f"__r{name}__", backward)


for _name, _function in _OPERATORS.items():
    _follow(_name, _function)


def follow_value(value: Any, origin: Attribute) -> Any:
    """An attribute's value with its origin in every whole number; other values as they are."""
    if type(value) is int:
        return Traced(value, origin)
    if type(value) in (tuple, list) and 0 < len(value) < _LONGEST:
        items = [follow_value(v, Attribute(origin.path, origin.name, (*origin.place, i))) for i, v in enumerate(value)]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return tuple(items) if isinstance(value, tuple) else items
    if type(value).__name__ == "Size" and isinstance(value, tuple):  # torch's
        return tuple(follow_value(int(v), Attribute(origin.path, origin.name, (i,))) for i, v in enumerate(value))
    return value


def evaluate(number: int, attribute: Callable[[Attribute, int], int], size: Callable[[Dim], int]) -> int:
    """What a number would be in another network.

    Args:
        attribute: value of an attribute there, given what it is here.
        size: of a dimension there.

    Raises:
        ZeroDivisionError: a divisor would be 0.
    """
    if not isinstance(number, Traced):
        return number
    origin = number.origin
    if isinstance(origin, Attribute):
        return attribute(origin, int(number))
    if isinstance(origin, SizeOf):
        return size(origin.dim)
    left, right = (evaluate(each, attribute, size) for each in (origin.left, origin.right))
    return origin.function(left, right)
