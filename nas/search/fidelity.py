"""Figures that say how far to trust a search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import kendalltau

from nas.store.results import Foresight, Ranking
from search_spaces.genes import Floats

_BEST = 0.3


def tau(a: Floats, b: Floats) -> float | None:
    """Kendall's rank correlation; None where it is not defined."""
    value = float(kendalltau(a, b).statistic) if len(a) > 1 else float("nan")
    return None if np.isnan(value) else value


def ranking(guess: Floats, truth: Floats) -> Ranking:
    """Kendall's tau of guesses ``[n]`` over all, and among the best 30 % by truth; None where not defined."""
    best = truth >= np.quantile(truth, 1 - _BEST) if len(truth) else np.zeros(0, bool)
    return Ranking(tau=tau(guess, truth), tau_best=tau(guess[best], truth[best]))


def rmse(guess: Floats, truth: Floats) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(np.mean((guess - truth) ** 2)))


def line_left_out(x: Floats, y: Floats) -> Floats:
    """The value at each point of a straight line through all the others, ``[n]``."""
    design = np.column_stack([np.ones(len(x)), x])
    hat = design @ np.linalg.pinv(design)
    free = np.maximum(1 - np.diag(hat), 1e-9)
    left: Floats = y - (y - hat @ y) / free
    return left


def rank_log_macs(macs: Floats, accuracy: Floats) -> Ranking:
    """How well log MACs rank candidates, and the error of a straight line over them, each point left out in turn."""
    logs = np.log(macs)
    return replace(ranking(logs, accuracy), rmse=rmse(line_left_out(logs, accuracy), accuracy))


def gain_over_random(front: Floats, random: Floats) -> float | None:
    """Mean accuracy of a front over that of random subnets at equal cost, in shares of one.

    The random subnets' accuracy at a cost is a parabola over its logarithm; members cheaper or dearer than all of them
    are left out. None: too few random subnets, or no member among them. Both are cost and accuracy, ``[n, 2]``.
    """
    if len(random) < 6:
        return None
    logs = np.log(random[:, 0])
    centre, width = logs.mean(), max(float(logs.std()), 1e-9)
    curve = np.polynomial.polynomial.polyfit((logs - centre) / width, random[:, 1], 2)
    inside = front[(front[:, 0] >= random[:, 0].min()) & (front[:, 0] <= random[:, 0].max())]
    if not len(inside):
        return None
    expected = np.polynomial.polynomial.polyval((np.log(inside[:, 0]) - centre) / width, curve)
    return float(np.mean(inside[:, 1] - expected))


def foresight(predicted: Floats, measured: Floats) -> Foresight:
    """Predictions made before measuring against the measurements, ``[n]`` each."""
    if not len(measured):
        return Foresight(0)
    pairs = tuple(zip(predicted.tolist(), measured.tolist(), strict=True))
    bias = float(np.mean(predicted - measured))
    return Foresight(len(measured), tau(predicted, measured), rmse(predicted, measured), bias, pairs)
