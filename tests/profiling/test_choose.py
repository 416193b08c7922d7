"""Which networks to measure: the greedy choice against brute force, and what it leaves unknown."""

from __future__ import annotations

import numpy as np
import pytest

from nas.profiling.choose import choose, greedy, operator_counts, prior
from predictors.costs.network import operator_rows
from predictors.costs.tables import CostTables, operator_tables
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.genes import Floats
from search_spaces.operators.trace import trace

NOISE = 0.01**2


@pytest.fixture(scope="module")
def tables() -> CostTables:
    return CostTables(get_space("mbv3-tiny"), Interface(3, 10))


def left(covariance: Floats, measured: list[int]) -> float:
    """Variance that is left over all networks, by the textbook formula."""
    if not measured:
        return float(np.trace(covariance))
    cross = covariance[:, measured]
    inner = covariance[np.ix_(measured, measured)] + NOISE * np.eye(len(measured))
    return float(np.trace(covariance - cross @ np.linalg.inv(inner) @ cross.T))


def test_every_step_takes_the_network_that_leaves_least() -> None:
    factors = np.random.default_rng(0).normal(size=(12, 5))
    covariance = factors @ factors.T
    chosen = greedy(covariance, 5, given=1)
    assert chosen[0] == 0
    for step in range(1, 5):
        others = [k for k in range(12) if k not in chosen[:step]]
        best = min(others, key=lambda k: left(covariance, [*chosen[:step], k]))
        assert left(covariance, chosen[: step + 1]) == pytest.approx(left(covariance, [*chosen[:step], best]))


def test_counts_are_those_of_the_traced_network(tables: CostTables) -> None:
    vectors = tables.space.sample(np.random.default_rng(3), 3)
    rows = operator_tables(tables.space, tables.interface).rows
    for vector, counts in zip(vectors, operator_counts(tables, vectors), strict=True):
        architecture = tables.space.decode(vector)
        model = tables.space.build(architecture, Interface(3, 10), "meta").eval()
        traced = operator_rows(trace(model, 3, architecture.resolution))
        assert counts.sum() == len(traced)
        assert counts @ rows == pytest.approx(traced.sum(axis=0))


def test_chosen_networks_tell_more_than_random_ones(tables: CostTables) -> None:
    chosen = choose(tables, 16, "int8", seed=0)
    assert np.array_equal(chosen[:2], tables.space.extremes())
    assert len(np.unique(chosen, axis=0)) == 16
    assert np.array_equal(chosen, choose(tables, 16, "int8", seed=0))
    others = tables.space.sample(np.random.default_rng(7), 216)
    covariance = prior(tables, np.concatenate([chosen, others]), "int8")
    np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))  # a covariance it is
    after = left(covariance, list(range(16)))
    for draw in range(5):
        random = np.random.default_rng(draw).choice(np.arange(16, 116), 16, replace=False)
        assert after < left(covariance, random.tolist())
