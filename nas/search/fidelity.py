"""Figures that say how far to trust a search."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]

_BEST = 0.3


def tau(a: Floats, b: Floats) -> float | None:
    """Kendall's rank correlation; None where it is not defined."""
    value = float(kendalltau(a, b).statistic) if len(a) > 1 else float("nan")
    return None if np.isnan(value) else value


def ranking(guess: Floats, truth: Floats) -> dict[str, float | None]:
    """Kendall's tau of guesses ``[n]`` over all, and among the best 30 % by truth; None where not defined."""
    best = truth >= np.quantile(truth, 1 - _BEST) if len(truth) else np.zeros(0, bool)
    return {"tau": tau(guess, truth), "tau_best": tau(guess[best], truth[best])}


def rmse(guess: Floats, truth: Floats) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(np.mean((guess - truth) ** 2)))


def line_left_out(x: Floats, y: Floats) -> Floats:
    """What a straight line through all other points says at each, ``[n]``."""
    design = np.column_stack([np.ones(len(x)), x])
    hat = design @ np.linalg.pinv(design)
    free = np.maximum(1 - np.diag(hat), 1e-9)
    left: Floats = y - (y - hat @ y) / free
    return left


def predictor_report(left_out: Floats, macs: Floats, accuracy: Floats) -> dict[str, Any]:
    """An accuracy predictor on candidates left out one by one, beside a straight line over log MACs.

    Args:
        left_out: the predictor's answers ``[n]``.
        macs: multiply-accumulates ``[n]``.
        accuracy: measured ``[n]``.
    """
    logs = np.log(macs)
    line = line_left_out(logs, accuracy)
    return {
        "predictor": ranking(left_out, accuracy) | {"rmse": rmse(left_out, accuracy)},
        "log_macs": ranking(logs, accuracy) | {"rmse": rmse(line, accuracy)},
    }


def gain_over_random(front: Floats, random: Floats) -> float | None:
    """Mean accuracy of a front over that of random subnets at equal cost, in shares of one.

    The random subnets' accuracy at a cost is a parabola over its logarithm; members cheaper or dearer than all of them
    are left out. None: too few random subnets, or no member among them.

    Args:
        front, random: cost and accuracy, ``[n, 2]``.
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


def agreement(predicted: Floats, measured: Floats) -> dict[str, Any]:
    """Predictions made before measuring against the measurements, ``[n]`` each."""
    if not len(measured):
        return {"candidates": 0}
    return {
        "candidates": len(measured),
        "tau": tau(predicted, measured),
        "rmse": rmse(predicted, measured),
        "bias": float(np.mean(predicted - measured)),
    }
