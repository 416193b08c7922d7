"""Fronts and hypervolume over points to be minimised."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

from search_spaces.genes import Floats


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
