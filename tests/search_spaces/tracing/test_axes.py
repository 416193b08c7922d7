"""Dimensions against small cases worked out by hand, and indices against numbers that are laid out and taken apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.tracing.dimensions.axes import Axis, Cat, Prod, cut, fix, is_fixed, leaves, split, unify
from search_spaces.tracing.dimensions.layouts import (
    Fixed,
    Joined,
    Layout,
    Nested,
    Width,
    full_size,
    kept,
    measure,
    runs,
)


def sizes(dim: Axis | Cat | Prod) -> list[int]:
    return [leaf.size for leaf in leaves(dim)]


def test_a_reshape_makes_a_prod_that_all_see() -> None:
    channels = Axis(576, "qkv")
    assert split(channels, 64) is not None
    assert sizes(channels) == [9, 64]


def test_unifying_cuts_at_the_places_of_both() -> None:
    left = Cat((Axis(4, "a"), Axis(6, "b")))
    right = Cat((Axis(7, "c"), Axis(3, "d")))
    unify(left, right, "sum")
    assert sizes(left) == sizes(right) == [4, 3, 3]
    assert [leaf.reason for leaf in leaves(left)] == [None] * 3


def test_prods_are_unified_from_the_inside() -> None:
    left, right = Prod((Axis(6, "a"), Axis(4, "b"))), Prod((Axis(3, "c"), Axis(8, "d")))
    unify(left, right, "sum")
    assert sizes(left) == sizes(right) == [3, 2, 4]


def test_what_does_not_fit_stays() -> None:
    left, right = Axis(4, "a"), Axis(5, "b")
    unify(left, right, "sum")
    assert left.reason == right.reason == "sum"
    parts, prod = Cat((Axis(3, "a"), Axis(5, "b"))), Prod((Axis(4, "c"), Axis(2, "d")))
    unify(parts, prod, "cut in between")
    assert is_fixed(parts)
    assert is_fixed(prod)


def test_a_reason_spreads_to_what_is_the_same() -> None:
    one, other = Axis(8, "a"), Axis(8, "b")
    fix(one, "given")
    unify(other, one, "sum")
    assert is_fixed(other)
    inside = Cat((Axis(3, "c"), Axis(5, "d")))
    unify(other, inside, "sum")
    assert is_fixed(inside)


def test_an_axis_inside_itself_stays() -> None:
    axis = Axis(4, "a")
    unify(axis, Prod((axis, Axis(1, "b"))), "the same")
    whole = Cat((axis, Axis(4, "c")))
    assert cut(whole, [4, 4]) is not None
    assert cut(Prod((Axis(2, "d"), axis)), [3, 5]) is None


LAYOUTS = st.recursive(
    st.one_of(st.integers(1, 4).map(Fixed), st.tuples(st.integers(0, 2)).map(lambda t: Width(t[0], (3, 4, 5)[t[0]]))),
    lambda inner: st.lists(inner, min_size=2, max_size=3).flatmap(
        lambda several: st.sampled_from([Joined(tuple(several)), Nested(tuple(several))])
    ),
    max_leaves=5,
)


def labelled(layout: Layout) -> list[tuple[tuple[int, int], ...]]:
    """The things of a dimension, each as the (axis, number) that it is made of."""
    if isinstance(layout, Fixed):
        return [((-1, i),) for i in range(layout.size)]
    if isinstance(layout, Width):
        return [((layout.axis, i),) for i in range(layout.size)]
    if isinstance(layout, Joined):
        return [thing for part in layout.parts for thing in labelled(part)]
    found: list[tuple[tuple[int, int], ...]] = [()]
    for factor in layout.factors:
        found = [(*left, *right) for left in found for right in labelled(factor)]
    return found


@settings(max_examples=100, deadline=None)
@given(LAYOUTS, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)))
def test_kept_indices_are_those_of_the_kept_things(layout: Layout, counts: tuple[int, int, int]) -> None:
    widths = dict(enumerate(counts))
    things = labelled(layout)
    assert full_size(layout) == len(things)
    wanted = [i for i, thing in enumerate(things) if all(n < widths.get(axis, n + 1) for axis, n in thing)]
    assert list(kept(layout, widths)) == wanted
    assert measure(layout, widths) == len(wanted)
    many = measure(layout, {axis: np.array([count, count]) for axis, count in widths.items()})
    assert (np.broadcast_to(many, 2) == len(wanted)).all()
    again = [i for first, count in runs(kept(layout, widths)) for i in range(first, first + count)]
    assert again == wanted


@pytest.mark.parametrize(("size", "count", "wanted"), [(7, 3, [2, 3, 4]), (5, 5, [0, 1, 2, 3, 4])])
def test_the_centre_of_a_filter_is_kept(size: int, count: int, wanted: list[int]) -> None:
    assert list(kept(Width(0, size, centre=True), {0: count})) == wanted
