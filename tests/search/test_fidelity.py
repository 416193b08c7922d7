"""The summary's figures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from nas.search.outcome import foresight, gain_over_random, line_left_out, rank_log_macs, ranking
from nas.store.results import Foresight


def test_a_line_left_out_is_a_line_fitted_without_that_point() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 12))
    plain = [np.polyval(np.polyfit(np.delete(x, i), np.delete(y, i), 1), x[i]) for i in range(len(x))]
    assert line_left_out(x, y) == pytest.approx(plain)


def test_gain_is_the_distance_from_the_random_curve() -> None:
    cost = np.exp(np.linspace(0, 2, 20))
    curve = 0.5 + 0.1 * np.log(cost) - 0.01 * np.log(cost) ** 2
    above = np.column_stack([cost[2:9], curve[2:9] + 0.03])
    outside = np.array([[100.0, 0.1]])
    random = np.column_stack([cost, curve])
    assert gain_over_random(np.concatenate([above, outside]), random) == pytest.approx(0.03)
    assert gain_over_random(above, random[:5]) is None
    assert gain_over_random(outside, random) is None


def test_ranking_counts_pairs() -> None:
    truth = np.arange(10.0)
    guess = truth.copy()
    guess[[8, 9]] = guess[[9, 8]]
    found = ranking(guess, truth)
    assert found.tau == pytest.approx(1 - 2 / 45)
    assert found.tau_best == pytest.approx(1 - 2 / 3)
    assert ranking(np.ones(10), truth).tau is None


def test_reports_name_error_and_bias() -> None:
    found = foresight(np.array([0.5, 0.7]), np.array([0.4, 0.6]))
    assert (found.rmse, found.bias, found.tau) == pytest.approx((0.1, 0.1, 1.0))
    assert found.pairs == ((0.5, 0.4), (0.7, 0.6))
    assert foresight(np.zeros(0), np.zeros(0)) == Foresight(0)
    logs = rank_log_macs(np.exp(np.arange(8.0)), np.arange(8.0))
    assert logs.tau == pytest.approx(1)
    assert logs.rmse == pytest.approx(0, abs=1e-9)
    assert ranking(np.arange(8.0)[::-1], np.arange(8.0)).tau == pytest.approx(-1)
