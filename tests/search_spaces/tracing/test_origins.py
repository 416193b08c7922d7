"""Numbers that remember where they come from behave like numbers."""

from __future__ import annotations

import copy
import pickle

import pytest

from search_spaces.tracing.dimensions.axes import Axis
from search_spaces.tracing.dimensions.origins import Attribute, SizeOf, Traced, evaluate, follow_value

HEADS = Attribute("block", "heads")
WIDTH = Axis(12, "width")


def test_arithmetic_is_that_of_int_and_can_be_repeated() -> None:
    heads, width = Traced(3, HEADS), Traced(12, SizeOf(WIDTH))
    results = [
        width // heads, width * 2 + heads, 7 - heads, width % 5, -heads, 30 // heads, heads - width, 2 * heads * width,
    ]  # fmt: skip
    assert results == [4, 27, 4, 2, -3, 10, -9, 72]
    again = [evaluate(each, lambda _, value: value - 1, lambda _: 8) for each in results]
    assert again == [4, 18, 5, 3, -2, 15, -6, 32]
    assert type(width / heads) is float
    assert type(heads * 0.5) is float
    with pytest.raises(ZeroDivisionError):
        evaluate(width // heads, lambda _, value: 0, lambda _: 8)


def test_copies_are_plain() -> None:
    for twin in (copy.deepcopy(Traced(3, HEADS)), pickle.loads(pickle.dumps(Traced(3, HEADS)))):
        assert type(twin) is int
        assert twin == 3


def test_lists_are_followed_and_other_values_left_alone() -> None:
    followed = follow_value([1, (2, 3), "x"], HEADS)
    assert followed == [1, (2, 3), "x"]
    assert str(followed[1][0].origin) == "block.heads[1][0]"
    for value in (True, 2.5, "x", None, ["x"], {"a": 1}):
        assert follow_value(value, HEADS) is value
