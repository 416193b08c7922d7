"""Which candidates to measure next: the batch with the largest expected gain in hypervolume.

Costs are known exactly and only the error is uncertain, so the expectation has a closed form. Cut the space of costs
into cells by the coordinates of the measured front. In each, a new candidate gains below the smallest error S that is
measured at no higher cost, hence

    E[gain] = sum over cells of  volume(cell at or above the candidate's costs) * E[max(S - error, 0)]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from predictors.accuracy.features import Features
from predictors.accuracy.predictor import AccuracyPredictor
from search_spaces.genes import Floats

CELLS = 4096
"""Largest number of cells of the grid that an expected gain is summed over."""
_SHORTLIST = 20


def expected_gain(error: Floats, std: Floats, costs: Floats, measured: Floats, reference: Floats) -> Floats:
    """Expected growth of the hypervolume by measuring each of ``n`` candidates alone, ``[n]``.

    Args:
        error, std: predicted error and its deviation (normal), ``[n]``.
        costs: exact, ``[n, d]``.
        measured: known points ``[m, 1 + d]``, error first.
        reference: worst corner ``[1 + d]``.

    With more than :data:`CELLS` cells the grid is thinned, and a cell's S is taken at its centre.
    """
    d = costs.shape[1]
    measured = measured[(measured < reference).all(axis=1)]
    edges = [_edges(measured[:, 1 + j], reference[1 + j], int(CELLS ** (1 / d))) for j in range(d)]
    centres = np.array(list(itertools.product(*((e[:-1] + e[1:]) / 2 for e in edges)))).reshape(-1, d)
    best = np.full(len(centres), reference[0])
    for point in measured:
        covered = (point[1:] <= centres).all(axis=1)
        best[covered] = np.minimum(best[covered], point[0])
    levels, level = np.unique(best, return_inverse=True)
    gains = expected_excess(error[:, None], std[:, None], levels)  # [n, levels]
    # Volume of every level at or above a candidate's costs, summed up over the cells.
    overlap = [np.clip(e[1:] - np.maximum(costs[:, j, None], e[:-1]), 0, None) for j, e in enumerate(edges)]
    if d == 1:
        total: Floats = np.einsum("nc,nc->n", overlap[0], gains[:, level.ravel()])
        return total
    index = np.array(list(itertools.product(*(range(len(e) - 1) for e in edges))))
    out = np.empty(len(costs))
    for i in range(0, len(costs), 256):
        rows = slice(i, i + 256)
        volume = overlap[0][rows][:, index[:, 0]]
        for j in range(1, d):
            volume = volume * overlap[j][rows][:, index[:, j]]
        out[rows] = np.einsum("nc,nc->n", volume, gains[rows][:, level.ravel()])
    return out


def expected_excess(mean: Floats, std: Floats, level: Floats) -> Floats:
    """``E[max(level - x, 0)]`` of normal ``x`` (Jones et al., 1998, equation 15)."""
    std = np.maximum(std, 1e-12)
    z = (level - mean) / std
    value: Floats = std * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return value


def _edges(values: Floats, reference: float, most: int) -> Floats:
    """Sorted cell edges from 0 (costs are not negative) to the reference, at most ``most`` cells."""
    inner = np.unique(values)
    if len(inner) + 1 > most:
        inner = np.unique(np.quantile(inner, np.linspace(0, 1, most - 1)))
    return np.concatenate([[min(0.0, float(inner[0])) if len(inner) else 0.0], inner, [reference]])


def choose_batch(
    predictor: AccuracyPredictor, features: Features, costs: Floats, measured: Floats, reference: Floats, size: int,
    pending: int = 0,
) -> list[int]:  # fmt: skip
    """Greedy batch by expected gain: rows of ``features`` in the order they were picked.

    A picked candidate counts as measured at its predicted error, and the deviation of those that resemble it shrinks
    as if it were, so that a batch for many workers does not ask the same thing twice.

    Args:
        features, costs: of ``n`` candidates, ``[n, d]`` the latter; the first ``pending`` are being measured by others
            and are taken first, without being returned.
        measured, reference: as of :func:`expected_gain`.
        size: how many to pick; fewer come back where there are fewer candidates.
    """
    mean, std = predictor.predict(features)
    state = Beliefs(predictor, features, 1 - mean, std**2, np.zeros((0, len(mean))))
    for row in range(pending):
        measured = np.vstack([measured, np.append(state.error[row], costs[row])])
        state.pretend(row)
    gain = expected_gain(state.error, np.sqrt(state.variance), costs, measured, reference)
    gain[:pending] = -np.inf
    # Gains only shrink from here on, so that what is far behind now need not be looked at again.
    rows = np.argsort(-gain, kind="stable")[: min(_SHORTLIST * size, len(gain) - pending)]
    state, costs, gain = state.only(rows), costs[rows], gain[rows]
    chosen: list[int] = []
    while len(chosen) < min(size, len(rows)):
        if gain.max() <= 1e-12 * np.prod(reference):  # nothing promises more: learn where least is known
            gain = np.where(np.isfinite(gain), state.variance, -np.inf)
        pick = int(gain.argmax())
        chosen.append(pick)
        measured = np.vstack([measured, np.append(state.error[pick], costs[pick])])
        state.pretend(pick)
        gain = expected_gain(state.error, np.sqrt(state.variance), costs, measured, reference)
        gain[chosen] = -np.inf
    return [int(rows[pick]) for pick in chosen]


@dataclass
class Beliefs:
    """Errors and their variances ``[n]``, as measurements at their predicted values, ``told`` ``[m, n]``, change
    them."""

    predictor: AccuracyPredictor
    features: Features
    error: Floats
    variance: Floats
    told: Floats

    def only(self, rows: NDArray[np.int64]) -> Beliefs:
        return Beliefs(self.predictor, self.features[rows], self.error[rows], self.variance[rows], self.told[:, rows])

    def pretend(self, pick: int) -> None:
        """Take row ``pick`` as measured (one step of a Cholesky factorisation of the joint covariance)."""
        shared = self.predictor.covariance(self.features, pick) - self.told.T @ self.told[:, pick]
        step = shared / np.sqrt(max(self.variance[pick], 1e-18))
        self.told = np.vstack([self.told, step])
        self.variance = np.maximum(self.variance - step**2, 1e-14)
