"""Which tensors share the order of an axis: what is permuted together when important channels come first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from search_spaces.channels import Axis, Group

from .dimensions.layouts import Joined, Layout, Nested, Width, full_size
from .trace import Trace


@dataclass(frozen=True)
class _Place:
    """Where the things of an axis lie in a dimension: ``parts x things x unit`` elements from ``start``."""

    start: int
    parts: int
    unit: int
    size: int


def channel_groups(trace: Trace, axes: Iterable[int]) -> list[Group]:
    """For each of some axes whose things can be exchanged, every dimension of a tensor that holds them."""
    members: dict[int, list[Axis]] = {
        axis: [] for axis in axes if not (trace.axes[axis].ordered or trace.axes[axis].kernel)
    }
    for name, layouts in trace.tensors.items():
        for dim, layout in enumerate(layouts):
            size = full_size(layout)
            for axis, place in _places(layout):
                if axis in members:
                    whole = place.size == size
                    within = None if whole else (place.start, place.start + place.size)
                    score = dim == 1 and name.endswith("weight")
                    members[axis].append(Axis(name, dim, place.parts, place.unit, score, within))
    return [tuple(group) for group in members.values() if group]


def _places(layout: Layout) -> Iterator[tuple[int, _Place]]:
    """Every axis of a dimension, as often as it occurs, with its place."""
    if isinstance(layout, Width):
        yield layout.axis, _Place(0, 1, 1, layout.size)
    elif isinstance(layout, Joined):
        start = 0
        for part in layout.parts:
            for axis, place in _places(part):
                yield axis, _Place(start + place.start, place.parts, place.unit, place.size)
            start += full_size(part)
    elif isinstance(layout, Nested):
        sizes = [full_size(factor) for factor in layout.factors]
        for number, factor in enumerate(layout.factors):
            outer, inner = math.prod(sizes[:number]), math.prod(sizes[number + 1 :])
            for axis, place in _places(factor):
                yield from ((axis, each) for each in _nested(place, sizes[number], outer, inner))


def _nested(place: _Place, size: int, outer: int, inner: int) -> Iterator[_Place]:
    """A place in a factor of ``size`` as places in the dimension that nests it."""
    if place.size == size:
        yield _Place(0, outer * place.parts, place.unit * inner, outer * size * inner)
        return
    for number in range(outer):
        yield _Place((number * size + place.start) * inner, place.parts, place.unit * inner, place.size * inner)
