"""Tables of operators on top of the additive latency model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.latency.measured_operators import fit_operators, leave_out
from benchmarks.latency.validation import predict_vectors
from predictors.costs.network import COLUMN, FEATURES, op_features, operator_rows
from predictors.costs.tables import CostTables, operator_tables
from predictors.latency.additive import AdditiveLatency, LatencyModel
from predictors.latency.operator_table import TableLatency, kernel, solve
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UserError
from search_spaces.genes import Floats, Vectors
from search_spaces.operators.operator import Op
from search_spaces.operators.trace import trace
from search_spaces.space import SearchSpace
from tests.predictors.test_latency import MODEL


@pytest.fixture(scope="module")
def tiny() -> CostTables:
    return CostTables(get_space("mbv3-tiny"), Interface(3, 10))


def operators(space: SearchSpace, vector: Vectors) -> list[Op]:
    architecture = space.decode(vector)
    return trace(space.build(architecture, Interface(3, 10), "meta").eval(), 3, architecture.resolution)


def pointwise(inside: int, outside: int, pixels: int) -> Floats:
    """The row of a 1x1 convolution."""
    row = np.zeros(len(FEATURES))
    values = {
        "macs_pointwise": inside * outside * pixels, "ops_pointwise": 1, "moved_pointwise": (inside + outside) * pixels,
        "weights": inside * outside, "channels": outside,
    }  # fmt: skip
    for name, value in values.items():
        row[COLUMN[name]] = value
    return row


def slow(inside: int, outside: int) -> float:
    """A made-up device: 1x1 convolutions of few channels take up to three times as long as additive says."""
    return 1 + 32 / inside + 32 / outside


SIZES = [(i, o, p) for i in (16, 32, 64, 128) for o in (16, 32, 64, 128) for p in (49, 784)]


def measured_table() -> tuple[Floats, Floats]:
    rows = np.stack([pointwise(*size) for size in SIZES])
    return rows, MODEL.operators(rows, "int8") * np.array([slow(i, o) for i, o, _ in SIZES])


def table_model() -> TableLatency:
    rows, ms = measured_table()
    return TableLatency(MODEL, {"int8": fit_operators(MODEL.of("int8"), rows, ms, "int8")})


def models() -> dict[str, LatencyModel]:
    return {"additive": MODEL, "table": table_model()}


@pytest.mark.parametrize("name", ["additive", "table"])
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_populations_and_single_networks_agree(tiny: CostTables, name: str, precision: str) -> None:
    model = models()[name]
    space = tiny.space
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(0), 4)])
    by_table = predict_vectors(model, tiny, vectors, precision)
    alone = [model.network(operator_rows(operators(space, v)), precision) for v in vectors]
    assert by_table == pytest.approx(np.array(alone), rel=1e-9)
    plain = predict_vectors(MODEL, tiny, vectors, precision)
    changed = name != "additive" and precision == "int8"
    assert (np.abs(by_table / plain - 1).max() > 0.01) == changed


def test_operator_tables_hold_every_operator(tiny: CostTables) -> None:
    known = operator_tables(tiny.space, tiny.interface)
    assert len(np.unique(known.rows, axis=0)) == len(known.rows)
    for column in ("macs_conv", "macs_pointwise", "weights", "ops_elementwise"):
        i = COLUMN[column]
        for mine, theirs in zip(known.totals(known.rows[:, i]), tiny.tables, strict=True):
            np.testing.assert_array_equal(mine, theirs[:, i])


def test_operator_rows_add_up_to_the_network() -> None:
    ops = operators(get_space("mbv3-tiny"), get_space("mbv3-tiny").extremes()[1])
    total, rows = op_features(ops, 0), operator_rows(ops)
    summed = [COLUMN[name] for name in FEATURES if not name.startswith("live")]
    np.testing.assert_array_equal(rows.sum(axis=0)[summed], total[summed])
    assert len(rows) == len(ops)


def test_table_gives_measured_operators_their_latency_and_interpolates() -> None:
    model = table_model()
    rows, ms = measured_table()
    assert model.operators(rows, "int8") == pytest.approx(ms, rel=0.02)
    between = np.stack([pointwise(i, o, p) for i in (24, 48, 96) for o in (24, 48, 96) for p in (196, 400)])
    slower = np.array([slow(i, o) for i in (24, 48, 96) for o in (24, 48, 96)]).repeat(2)
    truth = MODEL.operators(between, "int8") * slower
    plain_error = np.abs(MODEL.operators(between, "int8") / truth - 1).mean()
    error = np.abs(model.operators(between, "int8") / truth - 1).mean()
    assert error < 0.05
    assert error < 0.1 * plain_error


def test_table_leaves_what_is_far_from_all_measured_to_the_additive_model() -> None:
    model = table_model()
    depthwise = np.zeros((1, len(FEATURES)))
    depthwise[0, [COLUMN["macs_depthwise"], COLUMN["ops_depthwise"], COLUMN["moved_depthwise"]]] = 1e6, 1, 1e5
    assert model.operators(depthwise, "int8") == pytest.approx(MODEL.operators(depthwise, "int8"), rel=1e-6)
    rows, _ = measured_table()
    np.testing.assert_array_equal(model.operators(rows, "fp32"), MODEL.operators(rows, "fp32"))


def test_table_of_an_operator_that_the_additive_model_takes_for_nothing() -> None:
    free = AdditiveLatency({"int8": dataclasses.replace(MODEL.of("int8"), operator_ms=0.0, activation_ms_per_mb=0.0)})
    pool = np.zeros((2, len(FEATURES)))
    pool[:, COLUMN["ops_matmul"]] = 1
    pool[:, COLUMN["moved_matmul"]] = 1e4, 4e4
    assert free.operators(pool, "int8") == pytest.approx([0, 0])
    table = fit_operators(free.of("int8"), pool, np.array([0.1, 0.3]), "int8")
    model = TableLatency(free, {"int8": dataclasses.replace(table, noise=1e-6)})
    assert model.operators(pool, "int8") == pytest.approx([0.1, 0.3], rel=1e-3)


@pytest.mark.parametrize(("ms", "word"), [([0.1], "1 latencies"), ([0.1, -1.0], "-1.0 ms")])
def test_table_refuses_what_is_no_latency(ms: list[float], word: str) -> None:
    rows = np.stack([pointwise(8, 8, 10), pointwise(8, 16, 10)])
    with pytest.raises(UserError, match=word):
        fit_operators(MODEL.of("int8"), rows, np.array(ms), "int8")


@pytest.mark.parametrize("groups", [list(range(12)), [i // 4 for i in range(12)]])
def test_leaving_out_is_leaving_out(groups: list[int]) -> None:
    rng = np.random.default_rng(0)
    points, values = rng.normal(size=(12, 3)), rng.normal(size=12)
    errors = leave_out(points, values, 1.3, 0.1, groups)
    for group in set(groups):
        inside = np.array(groups) == group
        weights = solve(points[~inside], values[~inside], 1.3, 0.1)
        predicted = kernel(points[inside], points[~inside], 1.3) @ weights
        assert errors[inside] == pytest.approx(values[inside] - predicted, abs=1e-9)
