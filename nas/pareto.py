"""Fronts and hypervolume over points to be minimised."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def front(points: Floats) -> NDArray[np.bool_]:
    """Mask of the non-dominated rows of ``[n, objectives]``; of equal rows the first counts."""
    if not len(points):
        return np.zeros(0, dtype=bool)
    mask: NDArray[np.bool_] = moocore.is_nondominated(points, keep_weakly=False)
    return mask


def hypervolume(points: Floats, reference: Floats) -> float:
    """Volume dominated by ``[n, objectives]`` within ``reference``; points outside count nothing."""
    inside = points[(points < reference).all(axis=1)] if len(points) else points
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def best_batch(points: Floats, measured: Floats, reference: Floats, size: int) -> list[int]:
    """Greedy batch: indices of rows of ``points`` that each add most hypervolume to ``measured`` and those before.

    Picked points count as measured at their predicted value (a fantasy). Ends early where nothing adds volume.
    """
    known = measured[front(measured)] if len(measured) else np.zeros((0, len(reference)))
    chosen: list[int] = []
    gains = np.full(len(points), np.inf)
    while len(chosen) < size:
        base = hypervolume(known, reference)
        best, best_gain = -1, 0.0
        # Gains only shrink as points are added: look at them in the order of their last value, stop when no later
        # one can win.
        for i in np.argsort(-gains):
            if gains[i] <= best_gain:
                break
            gains[i] = hypervolume(np.vstack([known, points[i]]), reference) - base
            if gains[i] > best_gain:
                best, best_gain = int(i), float(gains[i])
        if best < 0 or best_gain <= 1e-12:
            break
        chosen.append(best)
        gains[best] = 0.0
        known = np.vstack([known, points[best]])
    return chosen
