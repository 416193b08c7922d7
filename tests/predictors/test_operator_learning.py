"""Operators learnt from whole networks, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.costs.tables import CostTables, operator_tables
from predictors.latency.additive import AdditiveLatency
from predictors.latency.fit import fit
from predictors.latency.operator_learning import Networks, learn_operators
from predictors.latency.operator_table import TableLatency
from predictors.latency.records import Coefficients
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.genes import Floats

TRUTH = Coefficients(0.06, 0.05, 0.012, 0.05, 0.05, 0.3, 0.3, 0.05, 0.001, 0.01)


@pytest.fixture(scope="module")
def networks() -> list[Floats]:
    """Operator rows of 70 random networks."""
    tables = CostTables(get_space("mbv3-tiny"), Interface(3, 10))
    known = operator_tables(tables.space, tables.interface)
    found = []
    for vector in tables.space.sample(np.random.default_rng(0), 70):
        numbers = [table[tables.rows(i, vector[None])[0]] for i, table in enumerate(known.numbers)]
        held = np.concatenate(numbers)
        found.append(known.rows[held[held > 0] - 1])
    return found


def test_networks_as_counts(networks: list[Floats]) -> None:
    counted = Networks.of(networks)
    assert len(np.unique(counted.rows, axis=0)) == len(counted.rows)
    for counts, rows in zip(counted.counts, networks, strict=True):
        assert counts.sum() == len(rows)
        assert counts @ counted.rows == pytest.approx(rows.sum(axis=0))


def latencies(networks: list[Floats], blocked: bool) -> Floats:
    """By the true constants; a runtime that works in blocks of 16 channels takes longer for what fills them badly."""
    base = AdditiveLatency({"int8": TRUTH})

    def one(rows: Floats) -> float:
        from predictors.costs.network import COLUMN

        channels = rows[:, COLUMN["channels"]]
        waste = np.where(channels > 0, np.ceil(channels / 16) * 16 / np.maximum(channels, 1), 1.0) if blocked else 1.0
        return float((base.operators(rows, "int8") * waste).sum()) + TRUTH.fixed_ms

    return np.array([one(rows) for rows in networks])


def errors(networks: list[Floats], ms: Floats, n: int = 40) -> tuple[float, float, bool]:
    """Mean relative errors on 30 networks held out of a fit to n, additive and corrected, and whether it was."""
    train, test = networks[:n], networks[40:]
    coefficients = fit(np.stack([r.sum(axis=0) for r in train]), ms[:n], "int8")
    table = learn_operators(coefficients, Networks.of(train), ms[:n], "int8")
    base = AdditiveLatency({"int8": coefficients})
    found = []
    for model in (base, TableLatency(base, {"int8": table} if table else {})):
        predicted = np.array([model.network(rows, "int8") for rows in test])
        found.append(float(np.abs(predicted / ms[40:] - 1).mean()))
    return found[0], found[1], table is not None


def test_blocks_of_channels_are_learnt(networks: list[Floats]) -> None:
    additive, corrected, helped = errors(networks, latencies(networks, blocked=True))
    assert helped
    assert corrected < 0.75 * additive


def test_an_additive_truth_is_left_alone(networks: list[Floats]) -> None:
    additive, corrected, _ = errors(networks, latencies(networks, blocked=False))
    assert additive < 0.005
    assert corrected < 0.005


def test_noise_is_not_learnt(networks: list[Floats]) -> None:
    ms = latencies(networks, blocked=False) * np.exp(np.random.default_rng(0).normal(0, 0.03, len(networks)))
    additive, corrected, _ = errors(networks, ms)
    assert corrected < 1.1 * additive


@pytest.mark.parametrize("n", [12, 24])
def test_measurements_that_contradict_each_other_do_no_harm(networks: list[Floats], n: int) -> None:
    truth = latencies(networks, blocked=True)
    for seed in range(6):
        wrong = np.exp(np.random.default_rng(seed).normal(0, 0.2, n))
        additive, corrected, _ = errors(networks, np.concatenate([truth[:n] * wrong, truth[n:]]), n)
        assert corrected < 1.2 * additive


def test_too_few_networks_are_not_corrected(networks: list[Floats]) -> None:
    few = Networks.of(networks[:3])
    assert learn_operators(TRUTH, few, latencies(networks[:3], True), "int8") is None
