"""Fitting latency models: against known constants, closed forms and data with a known mistake in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.latency.validation import Data, Predictor, additive, cross_validate
from predictors.costs.network import COLUMN, FEATURES
from predictors.latency.additive import AdditiveLatency
from predictors.latency.fit import FitReport, fit, fit_report
from predictors.latency.records import COEFFICIENTS, Coefficients
from search_spaces.errors import UsageError, UserError
from search_spaces.genes import Floats
from tests.predictors.test_latency import MODEL, random_features


def line(mmacs: Floats) -> Floats:
    """Networks of 1x1 convolutions alone."""
    features = np.zeros((len(mmacs), len(FEATURES)))
    features[:, COLUMN["macs_pointwise"]] = mmacs * 1e6
    return features


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_fit_recovers_known_coefficients(precision: str) -> None:
    """Without noise; the prior still draws a little, the less the more networks there are."""
    for n, tolerance in ((100, 0.02), (3000, 0.001)):
        features = random_features(3, n)
        known = MODEL.of(precision)
        measured = MODEL.predict(features, precision)
        found = fit(features, measured, precision)
        assert AdditiveLatency({precision: found}).predict(features, precision) == pytest.approx(measured, rel=0.02)
        typical = np.median(measured)
        for name, column in zip(COEFFICIENTS, _columns(features, precision), strict=True):
            off = abs(getattr(found, name) - getattr(known, name)) * np.median(column)
            assert off < tolerance * typical, name


def _columns(features: Floats, precision: str) -> Floats:
    from predictors.latency.additive import design

    return design(features, precision).T


def test_fit_weighs_networks_by_relative_error() -> None:
    """A line t = a + b x through noisy points: weighted least squares has a closed form, weights 1 / t^2."""
    rng = np.random.default_rng(0)
    mmacs = rng.uniform(1, 100, 2000)
    measured = (0.6 + 0.1 * mmacs) * rng.uniform(0.99, 1.01, 2000)
    w = measured**-2.0
    mean_x, mean_t = (w * mmacs).sum() / w.sum(), (w * measured).sum() / w.sum()
    slope = (w * (mmacs - mean_x) * (measured - mean_t)).sum() / (w * (mmacs - mean_x) ** 2).sum()
    found = fit(line(mmacs), measured, "fp32")
    assert found.pointwise_ms_per_mmac == pytest.approx(slope, rel=1e-4)
    assert found.fixed_ms == pytest.approx(mean_t - slope * mean_x, rel=1e-3)


@pytest.mark.parametrize("factor", [0.2, 4.0])
def test_one_bad_measurement_does_not_bend_the_fit(factor: float) -> None:
    mmacs = np.linspace(10, 100, 30)
    measured = (1 + 0.1 * mmacs) * np.random.default_rng(0).normal(1, 0.01, 30)
    spoiled = measured.copy()
    spoiled[25] *= factor
    found = fit(line(mmacs), spoiled, "fp32")
    assert found.pointwise_ms_per_mmac == pytest.approx(0.1, rel=0.03)
    rows = np.stack([mmacs, np.ones(30)], axis=1) / spoiled[:, None]
    (plain, _), *_ = np.linalg.lstsq(rows, np.ones(30), rcond=None)
    assert abs(found.pointwise_ms_per_mmac / 0.1 - 1) < 0.3 * abs(plain / 0.1 - 1)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, (9, len(FEATURES)), elements=st.floats(0, 1e9)),
    arrays(np.float64, 9, elements=st.floats(0.01, 1e4)),
    st.sampled_from(["int8", "fp32"]),
    st.floats(0, 8),
)
def test_fit_is_never_negative_and_never_makes_kernels_free(
    features: np.ndarray, measured: np.ndarray, precision: str, floor: float
) -> None:
    features[:, COLUMN["stem"]] = np.minimum(features[:, COLUMN["stem"]], features[:, COLUMN["macs_conv"]])
    found = fit(features, measured, precision, depthwise_floor=floor)
    values = [getattr(found, name) for name in COEFFICIENTS]
    assert np.isfinite(values).all()
    assert min(values) >= 0
    some = 1 - 1e-12
    assert found.activation_ms_per_mb >= found.weight_ms_per_mb * some
    assert found.elementwise_ms_per_mb >= found.activation_ms_per_mb * some
    assert found.pool_ms_per_mb >= found.activation_ms_per_mb * some
    assert found.stem_ms_per_mmac >= found.pointwise_ms_per_mmac * some
    assert found.depthwise_ms_per_mmac >= floor * found.pointwise_ms_per_mmac * some


def test_what_hardly_occurs_does_not_run_away() -> None:
    """Elementwise operators and pools: noise of 3 % says anything of so few bytes, without the prior up to 177 times
    the truth, and a network that has many would pay for it."""
    worst = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features = random_features(seed, 12)
        for kind in ("elementwise", "pool"):
            features[:, COLUMN[f"moved_{kind}"]] = 0.01 * features[:, COLUMN["moved_pointwise"]]
        found = fit(features, MODEL.predict(features, "fp32") * rng.normal(1, 0.03, 12), "fp32")
        known = MODEL.of("fp32")
        worst += [getattr(found, name) / getattr(known, name) for name in ("elementwise_ms_per_mb", "pool_ms_per_mb")]
    assert max(worst) < 5


def test_convolutions_nobody_measured_cost_what_pointwise_ones_do() -> None:
    features = random_features(5, 40)
    features[:, COLUMN["stem"]] = features[:, COLUMN["macs_conv"]]
    found = fit(features, MODEL.predict(features, "int8"), "int8")
    assert found.conv_ms_per_mmac == found.pointwise_ms_per_mmac
    assert found.stem_ms_per_mmac > 2 * found.pointwise_ms_per_mmac


@pytest.mark.parametrize(
    ("features", "measured", "word"),
    [
        (np.zeros((0, len(FEATURES))), np.zeros(0), "0 networks"),
        (np.ones((2, len(FEATURES))), np.ones(3), "3 latencies"),
        (np.ones((2, len(FEATURES))), np.array([1.0, 0.0]), "0.0 ms"),
        (np.ones((2, len(FEATURES))), np.array([1.0, np.nan]), "nan ms"),
    ],
)
def test_fit_refuses_what_cannot_be_fitted(features: np.ndarray, measured: np.ndarray, word: str) -> None:
    with pytest.raises(UserError, match=word):
        fit(features, measured, "int8")


def test_fit_names_the_nearest_precision() -> None:
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        fit(np.ones((2, len(FEATURES))), np.ones(2), "int4")


def test_report_in_closed_form() -> None:
    report = fit_report(np.array([1.05, 2.0, 2.4]), np.array([1.0, 2.5, 2.0]))
    assert report.mape == pytest.approx(100 * (0.05 + 0.2 + 0.2) / 3)
    assert report.within_10 == pytest.approx(100 / 3)
    assert report.tau == pytest.approx(1 / 3)  # two pairs of three in order
    assert report.networks == 3
    assert FitReport(2.34, 90.0, 0.981, 24).label == "calibrated (MAPE 2.3 %, tau 0.98, 24 networks)"


def test_cross_validation_never_shows_a_method_what_it_is_asked() -> None:
    """A method that remembers: every network asked for must be new, and every one is asked for once a family."""
    features = line(np.arange(1.0, 13.0))
    families = tuple("abc"[i % 3] for i in range(12))
    data = Data(features, np.arange(2.0, 14.0), "fp32", families)
    asked: list[tuple[int, ...]] = []

    def method(seen: Data) -> Predictor:
        known = set(seen.features[:, COLUMN["macs_pointwise"]])

        def predict(rows: Floats) -> Floats:
            macs = rows[:, COLUMN["macs_pointwise"]]
            assert not known & set(macs)
            assert len(known) + len(macs) == 12
            asked.append(tuple((macs / 1e6).astype(int)))
            return 1.2 * (macs / 1e6 + 1)

        return predict

    found = cross_validate(data, method, train=8, seeds=3)
    assert found.splits is not None
    assert found.families is not None
    assert [sorted(a) for a in asked[3:]] == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]
    order = np.random.default_rng(1).permutation(12)
    assert asked[1] == tuple(order[8:] + 1)
    for report in (found.splits, found.families):
        assert (report.mape, report.within_10, report.networks) == (pytest.approx(20), 0, 12)
    assert found.mean_tau == pytest.approx(1)
    assert found.families.tau == pytest.approx(1)


def test_cross_validation_of_few_networks_or_one_family_says_nothing() -> None:
    data = Data(line(np.arange(1.0, 6.0)), np.arange(1.0, 6.0), "fp32", ("a",) * 5)
    found = cross_validate(data, additive(), train=5)
    assert found.splits is None
    assert found.families is None
    assert math.isnan(found.mean_tau)


def test_coefficients_keep_their_order() -> None:
    assert Coefficients(*range(10)).fixed_ms == 9  # type: ignore[arg-type]
    assert COEFFICIENTS[0] == "stem_ms_per_mmac"
