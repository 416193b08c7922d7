"""What every accuracy predictor must do, on a made-up accuracy of a real space. A test runs the table through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load
from scipy.stats import kendalltau

from predictors.accuracy.features import Features, space_features
from predictors.accuracy.predictor import AccuracyPredictor, predictor_class, to_bytes
from predictors.costs.network import total_macs
from predictors.costs.tables import CostTables
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.genes import Floats

SPACE = get_space("mbv3-tiny")

Check = Callable[[str], None]
"""Takes the name of a predictor in ``PREDICTORS``; raises AssertionError."""


@cache
def tables() -> CostTables:
    """Costs of the space's candidates."""
    return CostTables(SPACE, Interface(1, 10))


def measured(n: int, seed: int) -> tuple[Features, Floats, Floats]:
    """Features of ``n`` random candidates, what was measured of them, and their true accuracy.

    It saturates in MACs, with effects of single genes and a little noise.
    """
    rng = np.random.default_rng(seed)
    vectors = SPACE.sample(rng, n)
    macs = total_macs(tables().features(vectors))
    scaled = np.where(SPACE.active(vectors), vectors / np.maximum(SPACE.cardinality - 1, 1), 0.5)
    effect = np.random.default_rng(0).standard_normal(len(SPACE.genes))
    truth = 0.8 + 0.03 * np.log(macs / 1e6) + 0.01 * scaled @ effect
    return space_features(SPACE, tables(), vectors), truth + 0.002 * rng.standard_normal(n), truth


@cache
def fitted(kind: str) -> AccuracyPredictor:
    """Of 60 measurements."""
    features, accuracy, _ = measured(60, 4)
    return predictor_class(kind).fit(features, accuracy, 0.0, 0)


def has_its_name_and_refuses_too_few_measurements(kind: str) -> None:
    member = predictor_class(kind)
    features, accuracy, _ = measured(member.least, 2)
    assert member.kind == kind
    assert np.isfinite(member.fit(features, accuracy, 0.0, 0).predict(features)).all()
    with pytest.raises(ValueError, match=f"at least {member.least}"):
        member.fit(features[:-1], accuracy[:-1], 0.0, 0)


def ranks_unseen_candidates_better_than_macs(kind: str) -> None:
    new, _, truth = measured(300, 5)
    mean, _ = fitted(kind).predict(new)
    assert kendalltau(mean, truth).statistic > kendalltau(new.physics[:, 0], truth).statistic + 0.05


def states_how_uncertain_it_is(kind: str) -> None:
    """Two thirds of the errors should be below the deviation."""
    new, _, truth = measured(300, 5)
    mean, std = fitted(kind).predict(new)
    assert mean.shape == std.shape == (300,)
    assert 0.5 < np.mean(np.abs(mean - truth) < std) < 0.97
    assert (fitted(kind).covariance(new, 3) ** 2 <= (std * std[3]) ** 2 * (1 + 1e-9)).all()


def gives_the_mean_alone(kind: str) -> None:
    new, *_ = measured(300, 5)
    np.testing.assert_allclose(fitted(kind).mean_of(new), fitted(kind).predict(new)[0], rtol=1e-12)


def leaves_out_what_it_predicts(kind: str) -> None:
    """A measurement's own value must not enter its held-out prediction, which is worse than the fit."""
    features, accuracy, _ = measured(60, 4)
    held_out, seen = fitted(kind).leave_one_out(), fitted(kind).mean_of(features)
    assert held_out.shape == (60,)
    assert np.abs(held_out - accuracy).mean() > np.abs(seen - accuracy).mean()
    assert kendalltau(held_out, accuracy).statistic > 0.5


def survives_equal_accuracies(kind: str) -> None:
    features, accuracy, _ = measured(24, 0)
    mean, std = predictor_class(kind).fit(features, np.full_like(accuracy, 0.5), 0.0, 0).predict(features)
    np.testing.assert_allclose(mean, 0.5, atol=1e-6)
    assert np.isfinite(std).all()


def repeats_itself(kind: str) -> None:
    features, accuracy, _ = measured(60, 4)
    again = predictor_class(kind).fit(features, accuracy, 0.0, 0)
    assert to_bytes(again, SPACE.name) == to_bytes(fitted(kind), SPACE.name)


def is_its_arrays(kind: str) -> None:
    """What the file holds makes the same predictor."""
    content = to_bytes(fitted(kind), SPACE.name)
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["predictor"])
    assert facts == {"kind": kind, "space": SPACE.name}
    read: AccuracyPredictor = predictor_class(kind)(**load(content))
    new, *_ = measured(20, 7)
    for ours, theirs in zip(fitted(kind).predict(new), read.predict(new), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(read.leave_one_out(), fitted(kind).leave_one_out(), rtol=1e-14)


CHECKS: tuple[Check, ...] = (
    has_its_name_and_refuses_too_few_measurements,
    ranks_unseen_candidates_better_than_macs,
    states_how_uncertain_it_is,
    gives_the_mean_alone,
    leaves_out_what_it_predicts,
    survives_equal_accuracies,
    repeats_itself,
    is_its_arrays,
)
