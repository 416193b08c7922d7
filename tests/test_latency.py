"""The additive latency model against closed forms, a spelled-out sum, and published measurements."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from predictors.costs import ACTIVATION_BYTES, COLUMN, FEATURES, WEIGHT_BYTES, CostTables, architecture_features
from predictors.latency import (
    COEFFICIENTS,
    AdditiveLatency,
    Coefficients,
    FitReport,
    fit,
    fit_report,
)
from search_spaces import get_space
from search_spaces.errors import UsageError, UserError
from search_spaces.ops import KINDS, trace

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
KNOWN = Coefficients(0.03, 0.02, 0.11, 0.8, 1.3, 0.3, 0.01, 0.5)
MODEL = AdditiveLatency({"int8": KNOWN, "fp32": Coefficients(0.07, 0.06, 0.9, 0.2, 0.25, 0.3, 0.005, 0.4)})


def random_features(seed: int, n: int) -> np.ndarray:
    """Rows of plausible networks in which no two terms move together."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, len(FEATURES)))
    for kind in KINDS:
        rows[:, COLUMN[f"ops_{kind}"]] = rng.integers(1, 40, n)
        rows[:, COLUMN[f"moved_{kind}"]] = rng.uniform(1e4, 2e6, n)
        if kind not in ("elementwise", "pool"):
            rows[:, COLUMN[f"macs_{kind}"]] = rng.uniform(1e6, 3e8, n)
    rows[:, COLUMN["weights"]] = rng.uniform(1e5, 1e7, n)
    rows[:, COLUMN["channels"]] = rng.integers(100, 10_000, n)
    rows[:, COLUMN["live"]] = rng.uniform(1e4, 1e6, n)
    return rows


@pytest.fixture(scope="module")
def tiny() -> CostTables:
    return CostTables(get_space("mbv3-tiny"), 10, 3)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_prediction_is_the_sum_over_operators(precision: str) -> None:
    space = get_space("mbv3-tiny")
    architecture = space.largest
    ops = trace(space.build(architecture, 10, 3, "meta").eval(), 3, architecture.resolution)
    c = MODEL.coefficients[precision]
    per_mmac = {
        "conv": c.conv_ms_per_mmac, "pointwise": c.pointwise_ms_per_mmac, "depthwise": c.depthwise_ms_per_mmac,
        "linear": c.pointwise_ms_per_mmac, "matmul": c.pointwise_ms_per_mmac,
    }  # fmt: skip
    expected = c.fixed_ms
    for op in ops:
        expected += c.operator_ms + per_mmac.get(op.kind, 0) * op.macs / 1e6
        per_mb = c.elementwise_ms_per_mb if op.kind == "elementwise" else c.activation_ms_per_mb
        expected += per_mb * op.moved * ACTIVATION_BYTES[precision] / 1e6
        expected += c.weight_ms_per_mb * op.weights * WEIGHT_BYTES[precision] / 1e6
    features = architecture_features(space, architecture, 10, 3)
    assert MODEL.predict(features[None], precision)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_populations_and_single_networks_agree(tiny: CostTables, precision: str) -> None:
    space = tiny.space
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(0), 20)])
    by_table = MODEL.predict_vectors(tiny, vectors, precision)
    assert by_table == pytest.approx(MODEL.predict(tiny.features(vectors), precision), abs=1e-6)
    for vector, ms in zip(vectors[:6], by_table[:6], strict=True):
        row = architecture_features(space, space.decode(vector), 10, 3)
        assert MODEL.predict(row[None], precision)[0] == pytest.approx(ms, abs=1e-6)


def test_latency_grows_with_every_gene(tiny: CostTables) -> None:
    """Choices ascend, so raising one active gene can only add work."""
    space = tiny.space
    vectors = space.sample(np.random.default_rng(1), 30)
    before = MODEL.predict_vectors(tiny, vectors, "int8")
    for column in range(len(space.genes)):
        rows = space.active(vectors)[:, column] & (vectors[:, column] + 1 < space.cardinality[column])
        larger = vectors.copy()
        larger[rows, column] += 1
        after = MODEL.predict_vectors(tiny, larger, "int8")
        assert (after[rows] > before[rows]).all(), space.genes[column].name


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([f for f in FEATURES if f.startswith("macs_")]), st.floats(1, 1e9))
def test_latency_is_affine_and_monotone_in_macs(seed: int, column: str, more: float) -> None:
    row = random_features(seed, 1)
    larger = row.copy()
    larger[0, COLUMN[column]] += more
    assert MODEL.predict(larger, "int8")[0] >= MODEL.predict(row, "int8")[0]
    doubled = MODEL.predict(2 * row, "int8")[0] - KNOWN.fixed_ms
    assert doubled == pytest.approx(2 * (MODEL.predict(row, "int8")[0] - KNOWN.fixed_ms), rel=1e-9)


def test_peak_memory_channels_and_parameters_cost_no_time() -> None:
    weights = MODEL.weights("int8")
    assert not weights[[COLUMN["live"], COLUMN["channels"], COLUMN["params"]]].any()


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("n", [8, 40])
def test_fit_recovers_known_coefficients(precision: str, n: int) -> None:
    """From 8 networks the solution is unique; more agree."""
    features = random_features(3, n)
    measured = MODEL.predict(features, precision)
    found = fit(features, measured, precision)
    for name in COEFFICIENTS:
        assert getattr(found, name) == pytest.approx(getattr(MODEL.coefficients[precision], name), rel=1e-5), name


def test_fit_weighs_networks_by_relative_error() -> None:
    """A line t = a + b x through noisy points: weighted least squares has a closed form, weights 1 / t^2."""
    mmacs = np.array([1.0, 10.0, 50.0, 100.0])
    features = np.zeros((4, len(FEATURES)))
    features[:, COLUMN["macs_pointwise"]] = mmacs * 1e6
    measured = np.array([1.6, 2.4, 6.1, 10.5])
    w = measured**-2.0
    mean_x, mean_t = (w * mmacs).sum() / w.sum(), (w * measured).sum() / w.sum()
    slope = (w * (mmacs - mean_x) * (measured - mean_t)).sum() / (w * (mmacs - mean_x) ** 2).sum()
    found = fit(features, measured, "fp32")
    assert found.pointwise_ms_per_mmac == pytest.approx(slope, rel=1e-9)
    assert found.fixed_ms == pytest.approx(mean_t - slope * mean_x, rel=1e-9)


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
    found = fit(features, measured, precision, depthwise_floor=floor)
    values = [getattr(found, name) for name in COEFFICIENTS]
    assert np.isfinite(values).all()
    assert min(values) >= 0
    assert found.elementwise_ms_per_mb >= found.activation_ms_per_mb
    assert found.conv_ms_per_mmac >= found.pointwise_ms_per_mmac
    assert found.depthwise_ms_per_mmac >= floor * found.pointwise_ms_per_mmac * (1 - 1e-12)


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


def test_unknown_precision_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        fit(np.ones((2, len(FEATURES))), np.ones(2), "int4")
    with pytest.raises(UsageError, match="unknown precision 'fp32'"):
        AdditiveLatency({"int8": KNOWN}).predict(np.ones((2, len(FEATURES))), "fp32")


def test_report_in_closed_form() -> None:
    report = fit_report(np.array([1.05, 2.0, 2.4]), np.array([1.0, 2.5, 2.0]))
    assert report.mape == pytest.approx(100 * (0.05 + 0.2 + 0.2) / 3)
    assert report.within_10 == pytest.approx(100 / 3)
    assert report.tau == pytest.approx(1 / 3)  # two pairs of three in order
    assert report.networks == 3
    assert FitReport(2.34, 90.0, 0.981, 24).label == "calibrated (MAPE 2.3 %, tau 0.98, 24 networks)"


def networks_module() -> ModuleType:
    """``benchmarks/_networks.py``; the folder is not a package."""
    spec = importlib.util.spec_from_file_location("_networks", BENCHMARKS / "_networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_networks"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("family", "mmacs", "million_parameters"),
    [("mobilenet_v1", 569, 4.2), ("mobilenet_v2", 300, 3.5), ("mobilenet_v3_large", 219, 5.4)],
)
def test_published_networks_have_their_published_costs(family: str, mmacs: float, million_parameters: float) -> None:
    """arXiv:1704.04861 table 8, arXiv:1801.04381 table 4, arXiv:1905.02244 table 3."""
    features = networks_module().network_features(family, 1.0, 224)
    macs = sum(features[COLUMN[f"macs_{kind}"]] for kind in KINDS)
    assert macs / 1e6 == pytest.approx(mmacs, rel=0.015)
    assert features[COLUMN["params"]] / 1e6 == pytest.approx(million_parameters, rel=0.02)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_cortex_a72_predicts_published_measurements(precision: str) -> None:
    from predictors.target import load_target

    module = networks_module()
    if not (module.data_folder() / "latency" / "mlperf_rpi4.csv").is_file():
        pytest.skip(f"published measurements are not in {module.data_folder()}; set NAS_BENCH_DATA")
    measured = module.mlperf_rpi4(precision)
    predicted = load_target("cortex-a72").latency.predict(measured.features, precision)
    v2 = measured.names.index("mobilenet_v2 1 224")
    assert predicted[v2] == pytest.approx(measured.ms[v2], rel=0.15)
    report = fit_report(predicted, measured.ms)
    assert report.mape < (3 if precision == "int8" else 7)
    assert report.tau > 0.9
