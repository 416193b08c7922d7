"""Random streams by name: which numbers they have, and that none draws what another draws."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nas.store.seeds import STREAMS, stream
from predictors.accuracy.ensembles import FOLDS, folds

OLD_TWINS = {
    frozenset({"train.interleave", "train.subnets"}),
    frozenset({"train.order", "train.torch"}),
    frozenset({"train.augment", "train.pool"}),
}
"""Pairs that share a number, since runs of earlier versions must repeat bit for bit. No new pair may join them."""


def test_no_two_streams_of_a_command_share_a_number() -> None:
    pairs = {
        frozenset({a, b})
        for a, b in combinations(STREAMS, 2)
        if a.split(".")[0] == b.split(".")[0] and STREAMS[a] == STREAMS[b]
    }
    assert pairs == OLD_TWINS


@pytest.mark.parametrize("name", [name for name in STREAMS if not any(name in pair for pair in OLD_TWINS)])
@pytest.mark.parametrize("place", [(), (0,), (5,)])
def test_no_stream_is_the_beginning_of_another(name: str, place: tuple[int, ...]) -> None:
    """Nor is it another stream at any early place, whatever the number of places."""
    drawn = stream(3, name, *place).integers(2**62)
    job = name.split(".")[0]
    others = [other for other in STREAMS if other.startswith(f"{job}.") and other != name]
    places = [(), (0,), (1,), (5,), (0, 0), (5, 0), (0, 5), (5, 5)]
    assert drawn not in {stream(3, other, *p).integers(2**62) for other in others for p in places}


def test_the_numbers_are_those_that_runs_were_made_with() -> None:
    assert stream(7, "train.augment", 40).integers(2**62) == np.random.default_rng([7, 3, 40]).integers(2**62)
    assert stream(7, "search.evolution").integers(2**62) == np.random.default_rng(7).integers(2**62)
    assert stream(7, "profile.check").integers(2**62) == np.random.default_rng((7, 1)).integers(2**62)
    assert stream(7, "train.quantize", 40).integers(2**62) != stream(7, "train.augment", 40).integers(2**62)


def test_the_stream_drawn_below_this_package_has_its_number() -> None:
    expected = np.array_split(stream(4, "search.folds").permutation(50), FOLDS)
    assert all((a == b).all() for a, b in zip(folds(50, 4), expected, strict=True))
