"""What a dimension of a tensor consists of, found out while a model runs.

A dimension is an *axis* (``size`` things that can be exchanged for one another, such as channels), a *cat* of
dimensions laid end to end (a concatenation), or a *prod* of dimensions nested row by row (heads times the channels of
a head). Operators *unify* dimensions: both become the same things. Where one of them has structure, unifying refines
the other: a reshape of 576 channels to 3 x 3 x 64 makes a prod of an axis, a chunk cuts it into a cat.

These objects change as a model runs; ``layouts`` holds what is known in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


class Axis:
    """``size`` exchangeable things.

    Attributes:
        name: of the tensor and its dimension that it was first seen in, ``conv1.weight:0``; empty: in none.
        reason: why it stays as it is; None: nothing keeps it from shrinking.
        ordered: neighbours mean something (a convolution runs over it), so its things cannot be exchanged.
        kernel: it is the side of a filter, of which a smaller network keeps the centre.
        known_as: the dimension that it turned out to be.
    """

    __slots__ = ("kernel", "known_as", "name", "ordered", "reason", "size")

    def __init__(self, size: int, name: str = "", reason: str | None = None) -> None:
        self.size = int(size)  # where the code got the number from, is not part of it
        self.name = name
        self.reason = reason if size != 1 else reason or "one"
        self.ordered = False
        self.kernel = False
        self.known_as: Dim | None = None


@dataclass(frozen=True, eq=False)
class Cat:
    """Dimensions laid end to end."""

    parts: tuple[Dim, ...]


@dataclass(frozen=True, eq=False)
class Prod:
    """Dimensions nested in each other, the last one running fastest."""

    factors: tuple[Dim, ...]


Dim = Axis | Cat | Prod
Dims = Sequence[Dim]
"""The dimensions of a tensor."""


def fixed(size: int) -> Axis:
    """A dimension that belongs to no tensor of the model, and stays as it is."""
    return Axis(size, reason="given")


def resolve(dim: Dim) -> Dim:
    """What a dimension turned out to be."""
    while True:
        if isinstance(dim, Axis):
            if dim.known_as is None:
                return dim
            dim = dim.known_as
        elif isinstance(dim, Cat) and len(dim.parts) == 1:
            dim = dim.parts[0]
        elif isinstance(dim, Prod) and len(dim.factors) == 1:
            dim = dim.factors[0]
        else:
            return dim


def size_of(dim: Dim) -> int:
    dim = resolve(dim)
    if isinstance(dim, Axis):
        return dim.size
    if isinstance(dim, Cat):
        return sum(map(size_of, dim.parts))
    return math.prod(map(size_of, dim.factors))


def parts_of(dim: Dim) -> list[Dim]:
    """Dimensions laid end to end, none of which is a cat."""
    dim = resolve(dim)
    return [part for each in dim.parts for part in parts_of(each)] if isinstance(dim, Cat) else [dim]


def factors_of(dim: Dim) -> list[Dim]:
    """Nested dimensions, none of which is a prod or 1; neighbours that stay as they are become one."""
    found: list[Dim] = []
    for factor in _flat_factors(dim):
        last = found[-1] if found else None
        if isinstance(factor, Axis) and isinstance(last, Axis) and is_fixed(factor) and is_fixed(last):
            found[-1] = Axis(last.size * factor.size, reason=factor.reason)
        else:
            found.append(factor)
    return found


def _flat_factors(dim: Dim) -> Iterator[Dim]:
    dim = resolve(dim)
    if isinstance(dim, Prod):
        for factor in dim.factors:
            yield from _flat_factors(factor)
    elif size_of(dim) != 1:
        yield dim


def leaves(dim: Dim) -> Iterator[Axis]:
    """The axes that a dimension consists of, in order."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        yield dim
    else:
        for part in dim.parts if isinstance(dim, Cat) else dim.factors:
            yield from leaves(part)


def is_fixed(dim: Dim) -> bool:
    """Whether nothing of a dimension can shrink."""
    return all(axis.reason is not None for axis in leaves(dim))


def fix(dim: Dim, reason: str) -> None:
    """Keep a dimension as it is from now on; the first reason stays."""
    for axis in leaves(dim):
        if axis.reason is None:
            axis.reason = reason


def nest(factors: Iterable[Dim]) -> Dim:
    """A prod, as plain as it can be."""
    several = tuple(factor for factor in factors if size_of(factor) != 1)
    return Prod(several) if len(several) > 1 else several[0] if several else fixed(1)


def join(parts: Iterable[Dim]) -> Dim:
    """A cat, as plain as it can be."""
    several = tuple(parts)
    return Cat(several) if len(several) != 1 else several[0]


def split(dim: Dim, inner: int) -> tuple[Dim, Dim] | None:
    """A dimension as (outer, inner) of a prod whose inner one has the size ``inner``; None: it cannot be divided so.

    An axis that is divided is known as a prod everywhere from then on.
    """
    dim = resolve(dim)
    size = size_of(dim)
    if inner == 1:
        return dim, fixed(1)
    if inner == size:
        return fixed(1), dim
    if inner < 1 or size % inner:
        return None
    if isinstance(dim, Axis):
        outer, within = _piece(dim, size // inner, ""), _piece(dim, inner, ".inside")
        dim.known_as = Prod((outer, within))
        return outer, within
    if isinstance(dim, Cat):
        return _split_parts(parts_of(dim), inner)
    return _split_factors(factors_of(dim), inner)


def _piece(axis: Axis, size: int, suffix: str) -> Axis:
    piece = Axis(size, f"{axis.name}{suffix}" if axis.name else "", axis.reason)
    piece.ordered = axis.ordered
    return piece


def _split_factors(factors: list[Dim], inner: int) -> tuple[Dim, Dim] | None:
    within: list[Dim] = []
    while inner > 1:
        last = factors.pop()
        size = size_of(last)
        if inner % size == 0:
            within.insert(0, last)
            inner //= size
            continue
        halves = split(last, inner) if size % inner == 0 else None
        if halves is None:
            return None
        factors.append(halves[0])
        within.insert(0, halves[1])
        inner = 1
    return nest(factors), nest(within)


def _split_parts(parts: list[Dim], inner: int) -> tuple[Dim, Dim] | None:
    """Every part is divided; the inner dimensions of all of them are the same things."""
    if any(size_of(part) % inner for part in parts):
        return None
    halves = [split(part, inner) for part in parts]
    sound = [half for half in halves if half is not None]
    if len(sound) < len(parts):
        return None
    for _, within in sound[1:]:
        unify(sound[0][1], within, "parts that are divided alike")
    return join(outer for outer, _ in sound), sound[0][1]


def cut(dim: Dim, sizes: Sequence[int]) -> list[Dim] | None:
    """A dimension as pieces of the given sizes, which add up to its own; None: it cannot be cut there.

    An axis that is cut is known as a cat everywhere from then on.
    """
    found: list[Dim] = []
    rest: Dim | None = resolve(dim)
    for number, size in enumerate(sizes):
        if size == 0:
            found.append(fixed(0))
        elif rest is None:
            return None
        elif size == size_of(rest):
            found.append(rest)
            rest = None
        else:
            halves = _cut_once(rest, size) if size < size_of(rest) and number < len(sizes) - 1 else None
            if halves is None:
                return None
            found.append(halves[0])
            rest = resolve(halves[1])
    return found if rest is None else None


def _cut_once(dim: Dim, first: int) -> tuple[Dim, Dim] | None:
    dim = resolve(dim)
    if isinstance(dim, Axis):
        left = _piece(dim, first, f"[:{first}]")
        right = _piece(dim, dim.size - first, f"[{first}:]")
        dim.known_as = Cat((left, right))
        return left, right
    if isinstance(dim, Cat):
        before: list[Dim] = []
        parts = parts_of(dim)
        while parts and size_of(parts[0]) <= first:
            first -= size_of(parts[0])
            before.append(parts.pop(0))
        if first:
            halves = _cut_once(parts[0], first)
            if halves is None:
                return None
            before.append(halves[0])
            parts[0] = halves[1]
        return join(before), join(parts)
    outer, *inside = factors_of(dim)
    unit = math.prod(map(size_of, inside))
    halves = None if first % unit else _cut_once(outer, first // unit)
    return None if halves is None else (nest((halves[0], *inside)), nest((halves[1], *inside)))


def unify(left: Dim, right: Dim, reason: str) -> None:
    """Make two dimensions the same things. Where their structures do not fit together, both stay as they are."""
    left, right = resolve(left), resolve(right)
    if left is right:
        return
    if size_of(left) != size_of(right):
        fix(left, reason)
        fix(right, reason)
    elif isinstance(left, Axis) and isinstance(right, Axis):
        _unify_axes(left, right)
    elif isinstance(left, Axis) or isinstance(right, Axis):
        _refine(left, right, reason) if isinstance(left, Axis) else _refine(right, left, reason)
    elif isinstance(left, Cat) or isinstance(right, Cat):
        _unify_parts(left, right, reason) if isinstance(left, Cat) else _unify_parts(right, left, reason)
    else:
        _unify_factors(factors_of(left), factors_of(right), reason)


def _unify_axes(left: Axis, right: Axis) -> None:
    stays, goes = (left, right) if left.name else (right, left)
    if stays.reason is None and goes.reason is not None:
        stays.reason = goes.reason
    stays.ordered |= goes.ordered
    stays.kernel |= goes.kernel
    goes.known_as = stays


def _refine(axis: Dim, other: Dim, reason: str) -> None:
    """An axis turns out to have the structure of the other dimension."""
    assert isinstance(axis, Axis)
    if any(leaf is axis for leaf in leaves(other)):
        fix(other, reason)
        return
    if axis.reason is not None:
        fix(other, axis.reason)
    if axis.ordered:
        for leaf in leaves(other):
            leaf.ordered = True
    axis.known_as = other


def _unify_parts(left: Dim, right: Dim, reason: str) -> None:
    parts = parts_of(left)
    pieces = cut(right, [size_of(part) for part in parts])
    if pieces is None:
        fix(left, reason)
        fix(right, reason)
        return
    for part, piece in zip(parts, pieces, strict=True):
        unify(part, piece, reason)


def _unify_factors(left: list[Dim], right: list[Dim], reason: str) -> None:
    """From the innermost factors outwards."""
    while left and right:
        one, other = left.pop(), right.pop()
        if size_of(one) < size_of(other):
            left, right, one, other = right, left, other, one
        if size_of(one) > size_of(other):
            halves = split(one, size_of(other))
            if halves is None:
                for each in (*left, *right, one, other):
                    fix(each, reason)
                return
            left.append(halves[0])
            one = halves[1]
        unify(one, other, reason)
