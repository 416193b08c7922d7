"""A learned correction of whole networks on top of the additive latency model."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency.residual import TOTALS, Residual, fit_residual, learn_residual
from benchmarks.latency.validation import Data, additive
from tests.predictors.test_latency import MODEL, random_features


def bumpy_residual() -> Residual:
    return Residual((0.0, -3.0, 8.0), (4.0, 3.0, 18.0), ((0.0, 0.0), (0.6, 0.3)), (0.2, -0.1))


def bent(n: int, seed: int, bend: float, noise: float) -> Data:
    """Networks whose latency departs from the additive model by a smooth function of their intensity."""
    features = random_features(seed, n)
    totals = features @ TOTALS
    intensity = np.log(totals[:, 0] / totals[:, 2])
    wave = bend * np.sin(4 * (intensity - 4.3))  # intensities are 3.1 to 5.5
    ms = MODEL.predict(features, "fp32") * np.exp(wave + np.random.default_rng(seed).normal(0, noise, n))
    return Data(features, ms, "fp32", tuple("abcd"[i % 4] for i in range(n)))


def test_residual_is_learned_where_it_helps() -> None:
    data, fresh = bent(80, 0, 0.15, 0.01), bent(40, 1, 0.15, 0.01)
    residual = fit_residual(data)
    assert residual is not None
    plain = additive()(data)(fresh.features)
    better = learn_residual()(data)(fresh.features)
    assert better == pytest.approx(plain * residual.factor(fresh.features @ TOTALS))
    assert np.abs(better / fresh.ms - 1).mean() < 0.8 * np.abs(plain / fresh.ms - 1).mean()


def test_residual_is_left_out_where_it_does_not_help() -> None:
    data = bent(60, 0, 0.0, 0.04)
    assert fit_residual(data) is None
    assert fit_residual(data.take(range(9))) is None
    np.testing.assert_array_equal(learn_residual()(data)(data.features), additive()(data)(data.features))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_residual_is_nothing_outside_the_range_it_saw(column: int) -> None:
    residual = bumpy_residual()
    inside = np.exp([[2.0 + 12, 0.0 + 12, 12.0]])
    assert abs(residual.factor(inside)[0] - 1) > 0.05
    for sign in (-1, 1):
        outside = inside.copy()
        outside[0, column] *= np.exp(sign * 40.0)
        assert residual.factor(outside)[0] == 1


def test_residual_fades_without_a_jump() -> None:
    residual = bumpy_residual()
    logs = np.linspace(4.0 - 2, 4.0 + 2, 4001)
    totals = np.exp(np.stack([logs + 12, np.full_like(logs, 12.0), np.full_like(logs, 12.0)], axis=1))
    factors = residual.factor(totals)
    assert np.abs(np.diff(factors)).max() < 0.01
    assert factors[-1] == 1
    assert factors[0] != 1
