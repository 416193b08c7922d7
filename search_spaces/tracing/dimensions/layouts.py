"""What the dimensions of a model consist of, once that is known: sizes and indices of any smaller network.

Axes have numbers. A smaller network keeps some of the things of each (``Widths``): the first ones, or the centre of a
filter's side. Its sizes are sums and products of these numbers, which may be numpy arrays: one entry for each of many
networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Size = TypeVar("Size", int, Whole)
Widths = Mapping[int, int]
"""Axis -> things of it that are kept; all, where it is not named."""
Pieces = tuple[tuple[int, int], ...]
"""Runs of indices, (first, how many)."""


@dataclass(frozen=True)
class Fixed:
    """A dimension that stays as it is."""

    size: int


@dataclass(frozen=True)
class Width:
    """An axis: exchangeable things, of which a smaller network keeps the first, or the centre of a filter's side."""

    axis: int
    size: int
    centre: bool = False


@dataclass(frozen=True)
class Joined:
    """Dimensions laid end to end."""

    parts: tuple[Layout, ...]


@dataclass(frozen=True)
class Nested:
    """Dimensions nested in each other, the last one running fastest."""

    factors: tuple[Layout, ...]


Layout = Fixed | Width | Joined | Nested


def measure(layout: Layout, widths: Mapping[int, Size]) -> int | Size:
    """Size of a dimension where axes have these widths; arrays of widths give an array of sizes."""
    if isinstance(layout, Fixed):
        return layout.size
    if isinstance(layout, Width):
        return widths.get(layout.axis, layout.size)
    if isinstance(layout, Joined):
        return sum((measure(part, widths) for part in layout.parts), start=0)
    return math.prod(measure(factor, widths) for factor in layout.factors)


class Sizes:
    """Sizes of dimensions for many networks, each worked out once.

    Args:
        widths: axis -> its width in every network, ``[n]``; all of its things, where it is not named.
    """

    def __init__(self, widths: Mapping[int, Whole]) -> None:
        self.widths = widths
        self._known: dict[int, tuple[Layout, int | Whole]] = {}

    def of(self, layout: Layout) -> int | Whole:
        """Size of a dimension in every network, ``[n]``; one number where all have the same."""
        if id(layout) not in self._known:
            self._known[id(layout)] = layout, self._of(layout)
        return self._known[id(layout)][1]

    def _of(self, layout: Layout) -> int | Whole:
        if isinstance(layout, Joined):
            return sum(map(self.of, layout.parts), start=0)
        if isinstance(layout, Nested):
            total: int | Whole = 1
            for factor in layout.factors:
                total = total * self.of(factor)
            return total
        return measure(layout, self.widths)


def full_size(layout: Layout) -> int:
    """Size of a dimension of the largest network."""
    return measure(layout, dict[int, int]())


def axes_of(layout: Layout) -> Iterator[int]:
    """The axes that a dimension consists of, in order."""
    if isinstance(layout, Width):
        yield layout.axis
    elif isinstance(layout, Joined | Nested):
        for part in layout.parts if isinstance(layout, Joined) else layout.factors:
            yield from axes_of(part)


def kept(layout: Layout, widths: Widths, orders: Mapping[int, Whole] | None = None) -> Whole:
    """Indices of the largest network's dimension that a smaller one keeps, in order.

    Args:
        orders: axis -> another order of its things, ``[size]``; the first of these are kept.
    """
    if isinstance(layout, Fixed):
        return np.arange(layout.size)
    if isinstance(layout, Width):
        count = widths.get(layout.axis, layout.size)
        if orders is not None and layout.axis in orders:
            return orders[layout.axis][:count]
        return np.arange(count) + ((layout.size - count) // 2 if layout.centre else 0)
    if isinstance(layout, Joined):
        starts = np.cumsum([0, *map(full_size, layout.parts)])
        return np.concatenate(
            [start + kept(part, widths, orders) for start, part in zip(starts[:-1], layout.parts, strict=True)]
        )
    index: Whole = np.zeros(1, dtype=np.int64)
    for factor in layout.factors:
        index = (index[:, None] * full_size(factor) + kept(factor, widths, orders)).ravel()
    return index


def runs(index: Whole) -> Pieces:
    """An index as runs of neighbours."""
    if not len(index):
        return ()
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
    lengths = np.diff(starts, append=len(index))
    return tuple((int(index[start]), int(length)) for start, length in zip(starts, lengths, strict=True))


def shape_of(layouts: Sequence[Layout], widths: Widths) -> tuple[int, ...]:
    """Shape of a tensor of a smaller network."""
    return tuple(measure(layout, widths) for layout in layouts)


def cut_of(layouts: Sequence[Layout], widths: Widths) -> tuple[Pieces | None, ...]:
    """What a smaller network takes of a tensor, for each dimension; None: all of it."""
    return tuple(
        None if measure(layout, widths) == full_size(layout) else runs(kept(layout, widths)) for layout in layouts
    )
