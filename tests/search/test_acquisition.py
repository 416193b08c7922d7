"""Expected gains and batches against simulation and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search import acquisition
from nas.search.acquisition import choose_batch, expected_excess, expected_gain
from nas.search.pareto import hypervolume
from predictors.accuracy.features import Features
from predictors.accuracy.gp import GroupGP, fit_gp


def test_excess_of_a_normal() -> None:
    draws = np.random.default_rng(0).standard_normal(400_000)
    for mean, std, level in ((0.0, 1.0, 0.3), (0.5, 0.2, 0.1), (-1.0, 2.0, 1.0)):
        simulated = np.maximum(level - (mean + std * draws), 0).mean()
        found = expected_excess(np.array([mean]), np.array([std]), np.array([level]))[0]
        assert found == pytest.approx(simulated, rel=0.02, abs=2e-4)


@given(st.integers(0, 500), st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_gain_of_what_is_certain_is_the_growth_of_the_hypervolume(seed: int, costs: int) -> None:
    rng = np.random.default_rng(seed)
    measured = rng.random((rng.integers(0, 9), 1 + costs))
    new = rng.random((6, 1 + costs)) * 1.1
    reference = np.ones(1 + costs)
    before = hypervolume(measured, reference)
    growth = [hypervolume(np.vstack([measured, row]), reference) - before for row in new]
    found = expected_gain(new[:, 0], np.full(6, 1e-9), new[:, 1:], measured, reference)
    np.testing.assert_allclose(found, growth, atol=1e-8)


@pytest.mark.parametrize("costs", [1, 2])
def test_expected_gain_against_simulation(costs: int) -> None:
    rng = np.random.default_rng(3)
    measured = rng.random((6, 1 + costs))
    reference = np.ones(1 + costs)
    before = hypervolume(measured, reference)
    place, error, std = rng.random(costs) * 0.5, 0.4, 0.15
    draws = error + std * rng.standard_normal(6000)
    gains = [hypervolume(np.vstack([measured, [e, *place]]), reference) - before for e in draws]
    found = expected_gain(np.array([error]), np.array([std]), place[None], measured, reference)[0]
    assert found == pytest.approx(np.mean(gains), rel=0.05)


def test_thinned_cells_stay_close(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    measured, new = rng.random((60, 3)) + 0.1, rng.random((30, 3))
    arguments = (new[:, 0], np.full(30, 0.1), new[:, 1:], measured, np.ones(3) * 1.2)
    exact = expected_gain(*arguments)
    monkeypatch.setattr(acquisition, "CELLS", 900)
    thinned = expected_gain(*arguments)
    assert (exact != thinned).any()
    np.testing.assert_allclose(thinned, exact, atol=0.05 * exact.max())


def _fitted(n: int = 12) -> tuple[GroupGP, Features, np.ndarray, np.ndarray]:
    """A process over two genes and one cost, 60 candidates, and what is measured."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (60 + n, 3))
    accuracy = 0.7 + 0.1 * np.sin(2 * x[:, 0]) + 0.1 * x[:, 2]
    features = Features(x[:, :2], x[:, 2:])
    costs = 1.5 + x[:, 2:]
    measured = np.column_stack([1 - accuracy[60:], costs[60:]])
    return fit_gp(features[60:], accuracy[60:]), features[:60], costs[:60], measured


def test_batch_is_greedy_by_expected_gain() -> None:
    gp, features, costs, measured = _fitted()
    reference = np.array([0.6, 2.6])
    mean, std = gp.predict(features)
    first = int(expected_gain(1 - mean, std, costs, measured, reference).argmax())
    chosen = choose_batch(gp, features, costs, measured, reference, 5)
    assert chosen[0] == first
    assert len(set(chosen)) == 5
    assert choose_batch(gp, features, costs, measured, reference, 2) == chosen[:2]
    assert len(choose_batch(gp, features[:3], costs[:3], measured, reference, 5)) == 3


def test_fantasised_deviations_are_those_of_a_process_that_measured_it() -> None:
    """Conditioning on a point by hand, with the same hyper-parameters."""
    gp, features, _, _ = _fitted()
    mean, std = gp.predict(features)
    beliefs = acquisition.Beliefs(gp, features, 1 - mean, std**2, np.zeros((0, len(mean))))
    joint = np.stack([gp.covariance(features, i) for i in range(len(features))])
    told = [7, 23]
    for row in told:
        beliefs.pretend(row)
    inner = joint[np.ix_(told, told)] + np.diag(std[told] ** 2 - np.diag(joint)[told])
    shrunk = np.diag(joint[:, told] @ np.linalg.inv(inner) @ joint[told])
    np.testing.assert_allclose(beliefs.variance, np.maximum(std**2 - shrunk, 1e-14), rtol=1e-6, atol=1e-13)


def test_what_others_measure_is_not_asked_again() -> None:
    """The same candidate stands among the pending ones and among the new ones: its twin promises nothing more."""
    gp, features, costs, measured = _fitted()
    reference = np.array([0.6, 2.6])
    best = choose_batch(gp, features, costs, measured, reference, 1)[0]
    both = Features(
        np.vstack([features.genes[best], features.genes]), np.vstack([features.physics[best], features.physics])
    )
    chosen = choose_batch(gp, both, np.vstack([costs[best], costs]), measured, reference, 3, pending=1)
    assert 0 not in chosen
    assert best + 1 not in chosen


def test_where_nothing_promises_a_gain_the_least_known_is_asked() -> None:
    gp, features, costs, measured = _fitted()
    measured = np.vstack([measured, [0.0, 0.0]])
    chosen = choose_batch(gp, features, costs, measured, np.array([0.6, 2.6]), 1)
    assert chosen == [int(gp.predict(features)[1].argmax())]
