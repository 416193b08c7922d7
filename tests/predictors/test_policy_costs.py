"""Costs of networks with precision policies: populations by table, single networks by operator, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.candidates.candidate import CandidateSpace
from predictors.costs.network import COLUMN, op_features, operator_rows, peak_activation_bytes, size_bytes
from predictors.costs.tables import CostTables
from predictors.latency.additive import AdditiveLatency
from predictors.latency.operator_table import TableLatency
from predictors.latency.records import OperatorTable
from predictors.policy_costs import PolicyCosts, network_costs
from predictors.targets.target import Target, load_target
from search_spaces import get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.operators.operator import Op
from search_spaces.operators.trace import trace
from search_spaces.policy import parse_policy, stages_of
from tests.support.long_forms import LONG

A72 = replace(load_target("cortex-a72"), weight_bits=(8, 4, 2))
MENU = ("fp32", "int8", "w4a8", "w2a8")


def _with_table() -> Target:
    """The target with corrected operators in int8 alone."""
    names = ("macs_pointwise", "ops_pointwise", "moved_pointwise")
    table = OperatorTable(names, ((1e5, 1.0, 1e4), (1e6, 1.0, 5e4)), (0.5, 0.2), 1.0, 1e-3)
    assert isinstance(A72.latency, AdditiveLatency)
    return replace(A72, latency=TableLatency(A72.latency, {"int8": table}))


SHORT = (("mbv3-tiny", "operators"), ("timm:resnet10t", "plain"), ("timm:resnet10t", "host"))


def _ops(name: str, architecture: Architecture) -> tuple[list[Op], int]:
    model = get_space(name).build(architecture, Interface(1, 10), "meta").eval()
    return trace(model, 1, architecture.resolution), sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(space, target, id=f"{space}-{of}", marks=[] if (space, of) in SHORT else [LONG])
        for space in ("mbv3-tiny", "timm:resnet10t")
        for of, target in {"plain": A72, "host": load_target("host"), "operators": _with_table()}.items()
    ],
)
def test_tables_agree_with_the_operators_of_one_network(name: str, target: Target) -> None:
    target = replace(target, weight_bits=A72.weight_bits)
    space = get_space(name)
    both, costs = CandidateSpace(space, MENU), PolicyCosts(CostTables(space, Interface(1, 10)), MENU)
    vectors = both.space.sample(np.random.default_rng(1), 6)
    parts = both.parts(vectors)
    found = np.stack(
        [
            costs.latency_ms(target, vectors, parts),
            costs.size_bytes(vectors, parts),
            costs.peak_bytes(vectors, parts, target.memory_rules),
        ]
    )
    for candidate, row in zip(both.candidates(vectors), found.T, strict=True):
        ops, params = _ops(name, candidate.architecture)
        one = network_costs(ops, params, candidate.policy, target)
        assert one.latency_ms == pytest.approx(row[0], rel=1e-9)
        assert [one.costs.size_bytes, one.costs.peak_activation_bytes] == [int(row[1]), int(row[2])]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_precision_costs_what_the_latency_model_says(precision: str) -> None:
    space = get_space("mbv3-tiny")
    ops, params = _ops("mbv3-tiny", space.largest)
    one, features = network_costs(ops, params, parse_policy(precision), A72), op_features(ops, params)
    assert one.latency_ms == pytest.approx(A72.latency.network(operator_rows(ops), precision), rel=1e-12)
    assert one.costs.size_bytes == size_bytes(features, precision)
    assert one.costs.peak_activation_bytes == peak_activation_bytes(features, precision)


def test_fewer_bits_save_storage_and_no_time() -> None:
    space = get_space("mbv3-tiny")
    ops, params = _ops("mbv3-tiny", space.largest)
    eight, four = (network_costs(ops, params, parse_policy(p), A72) for p in ("int8", "int8,blocks.3=w4a8"))
    weights = sum(op.weights for op in ops if op.path.startswith("blocks.3."))
    assert eight.costs.size_bytes - four.costs.size_bytes == weights / 2
    assert eight.latency_ms == four.latency_ms


def test_a_float_stage_pays_for_two_conversions() -> None:
    space = get_space("mbv3-tiny")
    ops, params = _ops("mbv3-tiny", space.largest)
    rows = operator_rows(ops)
    mixed = network_costs(ops, params, parse_policy("int8,blocks.2=fp32"), A72)
    inside = np.array([op.path.startswith("blocks.2.") for op in ops])
    plain = np.where(inside, A72.latency.operators(rows, "fp32"), A72.latency.operators(rows, "int8")).sum()
    entered, left = (next(op for op in ops if op.path.startswith(f"blocks.{i}.")).reads[0].elements for i in (2, 3))
    conversion = rows[:1] * 0
    conversion[0, COLUMN["moved_elementwise"]] = 5 * (entered + left)
    conversion[0, COLUMN["ops_elementwise"]] = 2
    expected = plain + A72.latency.operators(conversion, "int8")[0] + A72.latency.fixed("int8")
    assert mixed.latency_ms == pytest.approx(expected, rel=1e-12)


def test_no_conversions_between_quantized_stages() -> None:
    space = get_space("mbv3-tiny")
    costs, both = (
        PolicyCosts(CostTables(space, Interface(1, 10)), MENU),
        CandidateSpace(space, ("int8", "w4a8", "w2a8")),
    )
    vectors = both.space.sample(np.random.default_rng(0), 20)
    parts = 1 + both.parts(vectors)  # its menu begins with the second of MENU
    int8 = np.full((20, 1 + len(stages_of(space))), MENU.index("int8"))
    assert costs.latency_ms(A72, vectors, parts) == pytest.approx(costs.latency_ms(A72, vectors, int8), rel=1e-12)
