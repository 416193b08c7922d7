"""Which tensors of a network share a channel order: what must be permuted together for the output to stay the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from search_spaces.architecture import Architecture, Interface
from search_spaces.space import SearchSpace

from .copies import all_tensors
from .derive import look_anywhere
from .dimensions.layouts import Joined, Layout, Nested, Width, axes_of, full_size
from .inputs import image_of
from .trace import Trace, trace


@dataclass(frozen=True)
class Axis:
    """One dimension of one tensor that is indexed by the channels (or heads) of a group.

    The dimension holds ``parts x n x unit`` elements for the group's ``n`` items: a ``qkv`` weight of an attention has
    3 parts, and its items are heads of ``unit`` rows. With ``within`` it is the part of the dimension from the first to
    before the second number that holds them: channels of several groups may lie end to end.

    ``name`` is that of a parameter or buffer; ``score`` says whether its weights tell how important an item is: those
    that read it do.
    """

    name: str
    dim: int
    parts: int = 1
    unit: int = 1
    score: bool = False
    within: tuple[int, int] | None = None


Group = tuple[Axis, ...]
"""All axes that one order of channels (or heads) appears in."""


@dataclass(frozen=True)
class _Place:
    """Where the things of an axis lie in a dimension: ``parts x things x unit`` elements from ``start``."""

    start: int
    parts: int
    unit: int
    size: int


def channel_groups(space: SearchSpace, interface: Interface) -> list[Group]:
    """What may be reordered in the largest network of a space without changing its output, of all that smaller ones
    take a leading part of; in the order in which the network uses it.

    The network is run once, without storage where its code allows that. Raises UserError where it doesn't run.
    """
    inputs = image_of(interface, space.largest.resolution, "meta")
    traced = look_anywhere(
        lambda device: space.build(space.largest, interface, device),
        inputs,
        lambda model, given: trace(model, given, sizes=False),
    )
    narrow = all_tensors(space.build(_narrowest(space), interface, "meta"))
    axes = {number for number, axis in traced.axes.items() if not (axis.ordered or axis.kernel)}
    members: dict[int, list[Axis]] = {axis: [] for axis in traced.axes if axis in axes - _constant(traced, narrow)}
    for name, layouts in traced.tensors.items():
        for dim, layout in enumerate(layouts):
            size = full_size(layout)
            for axis, place in _places(layout):
                if axis in members:
                    whole = place.size == size
                    within = None if whole else (place.start, place.start + place.size)
                    score = dim == 1 and name.endswith("weight")
                    members[axis].append(Axis(name, dim, place.parts, place.unit, score, within))
    return [tuple(group) for group in members.values() if group]


def _narrowest(space: SearchSpace) -> Architecture:
    """The smallest architecture that has every block of the largest, on images of its size."""
    gates = {part.gate[0] for part in space.blocks if part.gate} | {"resolution"}
    smallest = {gene.name: gene.choices[0] for gene in space.genes if gene.name not in gates}
    return Architecture(space.name, tuple((dict(space.largest.genes) | smallest).items()))


def _constant(traced: Trace, narrow: Mapping[str, Tensor]) -> set[int]:
    """Axes that are as long in the ``narrow`` network: where one is shorter, so is every dimension that it lies in."""
    return {
        axis
        for name, layouts in traced.tensors.items()
        if name in narrow
        for layout, side in zip(layouts, narrow[name].shape, strict=True)
        if full_size(layout) == side
        for axis in axes_of(layout)
    }


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
