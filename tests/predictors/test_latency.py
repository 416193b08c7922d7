"""The additive latency model against closed forms, a spelled-out sum, and published measurements."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.latency.validation import predict_vectors
from predictors.costs.network import (
    ACTIVATION_BYTES,
    COLUMN,
    FEATURES,
    WEIGHT_BYTES,
    architecture_features,
    operator_rows,
)
from predictors.costs.tables import CostTables
from predictors.latency.additive import AdditiveLatency
from predictors.latency.fit import fit_report
from predictors.latency.records import Coefficients
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.operators.operator import KINDS
from search_spaces.operators.trace import trace

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KNOWN = Coefficients(0.09, 0.03, 0.02, 0.11, 0.8, 0.9, 1.3, 0.3, 0.01, 0.5)
MODEL = AdditiveLatency({"int8": KNOWN, "fp32": Coefficients(0.2, 0.07, 0.06, 0.9, 0.4, 0.6, 0.5, 0.3, 0.005, 0.4)})


def random_features(seed: int, n: int) -> np.ndarray:
    """Rows of plausible networks in which no two terms move together."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, len(FEATURES)))
    for kind in KINDS:
        rows[:, COLUMN[f"ops_{kind}"]] = rng.integers(1, 40, n)
        rows[:, COLUMN[f"moved_{kind}"]] = rng.uniform(1e4, 2e6, n)
        if kind not in ("elementwise", "pool"):
            rows[:, COLUMN[f"macs_{kind}"]] = rng.uniform(1e6, 3e8, n)
    rows[:, COLUMN["stem"]] = rng.uniform(0, 0.5, n) * rows[:, COLUMN["macs_conv"]]
    rows[:, COLUMN["unfolded"]] = rows[:, COLUMN["stem"]] / 32
    rows[:, COLUMN["weights"]] = rng.uniform(1e5, 1e7, n)
    rows[:, COLUMN["channels"]] = rng.integers(100, 10_000, n)
    rows[:, COLUMN["live_in-place"]] = rng.uniform(1e4, 1e6, n)
    return rows


@pytest.fixture(scope="module")
def tiny() -> CostTables:
    return CostTables(get_space("mbv3-tiny"), Interface(3, 10))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_prediction_is_the_sum_over_operators(precision: str) -> None:
    space = get_space("mbv3-tiny")
    architecture = space.largest
    ops = trace(space.build(architecture, Interface(3, 10), "meta").eval(), 3, architecture.resolution)
    c = MODEL.coefficients[precision]
    per_mmac = {
        "conv": c.conv_ms_per_mmac, "pointwise": c.pointwise_ms_per_mmac, "depthwise": c.depthwise_ms_per_mmac,
        "linear": c.pointwise_ms_per_mmac, "matmul": c.pointwise_ms_per_mmac,
    }  # fmt: skip
    per_mbyte = {"elementwise": c.elementwise_ms_per_mb, "pool": c.pool_ms_per_mb}
    expected = c.fixed_ms
    for op in ops:
        rate = c.stem_ms_per_mmac if op.path == "conv_stem" else per_mmac.get(op.kind, 0)
        expected += c.operator_ms + rate * op.macs / 1e6
        if op.path == "conv_stem":  # 3 channels, 3 x 3, at every place: a byte counts as two MACs
            height, width = op.out_shape[-2:]
            expected += rate * 2 * 27 * height * width * ACTIVATION_BYTES[precision] / 1e6
        per_mb = per_mbyte.get(op.kind, c.activation_ms_per_mb)
        expected += per_mb * op.moved * ACTIVATION_BYTES[precision] / 1e6
        expected += c.weight_ms_per_mb * op.weights * WEIGHT_BYTES[precision] / 1e6
    features = architecture_features(space, architecture, Interface(3, 10))
    assert MODEL.predict(features[None], precision)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_populations_and_single_networks_agree(tiny: CostTables, precision: str) -> None:
    space = tiny.space
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(0), 20)])
    by_table = predict_vectors(MODEL, tiny, vectors, precision)
    assert by_table == pytest.approx(MODEL.predict(tiny.features(vectors), precision), abs=1e-6)
    for vector, ms in zip(vectors[:6], by_table[:6], strict=True):
        architecture = space.decode(vector)
        ops = trace(space.build(architecture, Interface(3, 10), "meta").eval(), 3, architecture.resolution)
        assert MODEL.network(operator_rows(ops), precision) == pytest.approx(ms, rel=1e-9)


@pytest.mark.parametrize(
    ("layer", "stem"),
    [
        (nn.Conv2d(3, 16, 3, 2, 1), True),
        (nn.Conv2d(1, 16, 7, 2, 3), True),
        (nn.Conv2d(3, 16, 16, 16), False),  # a patch embedding reads every pixel once
        (nn.Conv2d(3, 16, 1), False),
        (nn.Conv2d(3, 3, 3, 1, 1, groups=3), False),
    ],
)
def test_the_stem_is_a_convolution_that_reads_pixels_of_the_image_repeatedly(layer: nn.Conv2d, stem: bool) -> None:
    model = nn.Sequential(layer, nn.Conv2d(layer.out_channels, 8, 3, padding=1)).to("meta").eval()
    rows = operator_rows(trace(model, layer.in_channels, 64))
    assert rows[0, COLUMN["stem"]] == (rows[0, COLUMN["macs_conv"]] if stem else 0)
    patches = rows[0, COLUMN["macs_conv"]] / layer.out_channels
    assert rows[0, COLUMN["unfolded"]] == (patches if stem else 0)
    assert rows[1, COLUMN["stem"]] == rows[1, COLUMN["unfolded"]] == 0
    assert rows[1, COLUMN["macs_conv"]] > 0


def test_latency_grows_with_every_gene(tiny: CostTables) -> None:
    """Choices ascend, so raising one active gene can only add work."""
    space = tiny.space
    vectors = space.sample(np.random.default_rng(1), 30)
    before = predict_vectors(MODEL, tiny, vectors, "int8")
    for column in range(len(space.genes)):
        rows = space.active(vectors)[:, column] & (vectors[:, column] + 1 < space.cardinality[column])
        larger = vectors.copy()
        larger[rows, column] += 1
        after = predict_vectors(MODEL, tiny, larger, "int8")
        assert (after[rows] > before[rows]).all(), space.genes[column].name


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([f for f in FEATURES if f.startswith("macs_") or f == "stem"]),
    st.floats(1, 1e9),
)
def test_latency_is_affine_and_monotone_in_macs(seed: int, column: str, more: float) -> None:
    row = random_features(seed, 1)
    larger = row.copy()
    larger[0, COLUMN[column]] += more
    assert MODEL.predict(larger, "int8")[0] >= MODEL.predict(row, "int8")[0]
    doubled = MODEL.predict(2 * row, "int8")[0] - KNOWN.fixed_ms
    assert doubled == pytest.approx(2 * (MODEL.predict(row, "int8")[0] - KNOWN.fixed_ms), rel=1e-9)


def test_peak_memory_channels_and_parameters_cost_no_time() -> None:
    weights = MODEL.weights("int8")
    assert not weights[[COLUMN["live_in-place"], COLUMN["channels"], COLUMN["params"]]].any()


def test_unknown_precision_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        MODEL.predict(np.ones((2, len(FEATURES))), "int4")
    with pytest.raises(UsageError, match="unknown precision 'fp32'"):
        AdditiveLatency({"int8": KNOWN}).predict(np.ones((2, len(FEATURES))), "fp32")


@pytest.mark.parametrize(
    ("family", "mmacs", "million_parameters"),
    [("mobilenet_v1", 569, 4.2), ("mobilenet_v2", 300, 3.5), ("mobilenet_v3_large", 219, 5.4)],
)
def test_published_networks_have_their_published_costs(family: str, mmacs: float, million_parameters: float) -> None:
    """arXiv:1704.04861 table 8, arXiv:1801.04381 table 4, arXiv:1905.02244 table 3."""
    from benchmarks.latency.networks import network_features

    features = network_features(family, 1.0, 224)
    macs = sum(features[COLUMN[f"macs_{kind}"]] for kind in KINDS)
    assert macs / 1e6 == pytest.approx(mmacs, rel=0.015)
    assert features[COLUMN["params"]] / 1e6 == pytest.approx(million_parameters, rel=0.02)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_cortex_a72_predicts_published_measurements(precision: str) -> None:
    from benchmarks.latency.networks import MLPERF_RPI4, mlperf_rpi4
    from benchmarks.support.data import data_folder
    from predictors.targets.target import load_target

    if not (data_folder() / MLPERF_RPI4).is_file():
        pytest.skip(f"published measurements are not in {data_folder()}; set NAS_BENCH_DATA")
    measured = mlperf_rpi4(precision)
    target = load_target("cortex-a72")
    predicted = np.array([target.latency.network(row[None], precision) for row in measured.features])
    v2 = measured.names.index("mobilenet_v2 1 224")
    assert predicted[v2] == pytest.approx(measured.ms[v2], rel=0.02)
    np.testing.assert_allclose(predicted, measured.ms, rtol=0.05 if precision == "int8" else 0.16)
    report = fit_report(predicted, measured.ms)
    claimed = re.fullmatch(r"calibrated \(MAPE (.*) %, tau (.*), (.*) networks\)", target.label(precision))
    assert claimed is not None
    assert report.networks == int(claimed[3])
    assert report.mape <= float(claimed[1])  # the label is about networks that were left out of the fit
    assert report.tau >= float(claimed[2])
