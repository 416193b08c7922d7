"""Which axes can be put in another order by the rule of ``search_spaces.channels``: items between parts and units."""

from __future__ import annotations

from collections.abc import Iterator

from .dimensions.layouts import Layout, Nested, Width, axes_of, full_size
from .trace import Trace

Use = tuple[str, int, int, int, bool]
"""Name of a tensor, dimension, parts, unit, and whether its weights read the axis."""


def axis_groups(trace: Trace) -> Iterator[list[Use]]:
    """Uses of every axis that lies in all tensors as ``parts x items x unit``; of others, none."""
    uses: dict[int, list[Use] | None] = {}
    for name, layouts in trace.tensors.items():
        for d, layout in enumerate(layouts):
            for axis in set(axes_of(layout)):
                facts, found = trace.axes[axis], uses.setdefault(axis, [])
                place = _place(layout, axis)
                if place is None or found is None or facts.ordered or facts.kernel:
                    uses[axis] = None
                else:
                    found.append((name, d, *place, d == 1 and len(layouts) > 1))
    yield from (found for found in uses.values() if found)


def _place(layout: Layout, axis: int) -> tuple[int, int] | None:
    """Parts before the axis, and units in each of its items."""
    if isinstance(layout, Width):
        return 1, 1
    if not isinstance(layout, Nested):
        return None
    before, after, seen = 1, 1, False
    for factor in layout.factors:
        if isinstance(factor, Width) and factor.axis == axis:
            seen = True
        elif axis in axes_of(factor):
            return None
        elif seen:
            after *= full_size(factor)
        else:
            before *= full_size(factor)
    return before, after
