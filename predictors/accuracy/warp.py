"""What predictors learn of an accuracy: the logarithm of the error."""

from __future__ import annotations

import numpy as np

from search_spaces.genes import Floats

_LEAST_ERROR = 1e-4
FENCE = 2.0


def warp(accuracy: Floats) -> Floats:
    """Minus the logarithm of the error, what predictors learn: a tenth less error counts the same everywhere.

    Networks that learned nothing lie so far below that they would decide the fit; values further below the first
    quartile than twice the distance between the quartiles are raised to there (Tukey's fences).
    """
    learned = -np.log(np.maximum(1.0 - accuracy, _LEAST_ERROR))
    low, high = np.quantile(learned, [0.25, 0.75])
    fenced: Floats = np.maximum(learned, low - FENCE * max(high - low, 1e-9))
    return fenced


def unwarp(learned: Floats) -> Floats:
    """Inverse of :func:`warp`, but for its fence. The slope, for deviations, is one minus this."""
    accuracy: Floats = 1.0 - np.exp(-learned)
    return accuracy
