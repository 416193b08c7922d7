"""A learned correction of whole networks, on top of another latency model and only where it has proved itself.

What an additive model cannot say is how operations and bytes overlap: a network that is bound by one of them takes less
than the sum. The correction is therefore a smooth function of two intensities, MACs and weights per activation moved,
of the logarithm of measured over predicted latency. It fades to nothing outside the range of the networks it was
fitted to: a purely learned model can be off by three quarters at a resolution it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.latency.validation import Data, Method, Predictor, additive
from predictors.costs.network import COLUMN, FEATURES
from predictors.latency.operator_table import kernel, solve
from search_spaces.genes import Floats
from search_spaces.operators.operator import KINDS

INPUTS = ("log_macs_per_activation", "log_weights_per_activation", "log_activations")
PLANE = 2
"""The first inputs, which the correction is a function of; the others only say what is inside the range."""

WIDTH = 0.7
"""Of the kernel, in half ranges of the networks fitted to."""

_FADE = 0.2  # half ranges beyond the range at which nothing is left
_LARGEST = 0.3  # a network that is further off, in logarithms, is one that another term is missing for
_NOISES = (0.3, 1.0, 3.0)
_GAIN, _FOLDS = 0.95, 10


def _totals() -> Floats:
    """``[features, 3]``: MACs, weights, activations moved."""
    matrix = np.zeros((len(FEATURES), 3))
    for kind in KINDS:
        matrix[COLUMN[f"macs_{kind}"], 0] = 1
        matrix[COLUMN[f"moved_{kind}"], 2] = 1
    matrix[COLUMN["weights"], 1] = 1
    return matrix


TOTALS = _totals()


@dataclass(frozen=True)
class Residual:
    """A fitted correction; plain numbers.

    Attributes:
        low, high: range of each of :data:`INPUTS` among the networks it was fitted to.
        points: those networks, -1 to 1 in each of the first inputs, see :data:`PLANE`.
        weights: one a point, see ``predictors.latency.operator_table``.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    points: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    def factor(self, totals: Floats) -> Floats:
        """What to multiply predictions by, ``[n]``, from ``features @ TOTALS``, ``[n, 3]``."""
        scaled = _scaled(_inputs(totals), np.array(self.low), np.array(self.high))
        beyond = np.maximum(np.abs(scaled) - 1, 0).max(axis=1)
        fade = np.clip(1 - beyond / _FADE, 0, 1)
        logarithm = kernel(scaled[:, :PLANE], np.array(self.points), WIDTH) @ np.array(self.weights)
        return np.asarray(np.exp(fade * logarithm), dtype=np.float64)


def _inputs(totals: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(totals, 1))
    logs[:, :2] -= logs[:, 2:]
    return logs


def _scaled(inputs: Floats, low: Floats, high: Floats) -> Floats:
    scaled: Floats = (2 * inputs - low - high) / np.maximum(high - low, 1e-9)
    return scaled


def fit_residual(data: Data, base: Method | None = None) -> Residual | None:
    """The correction of ``base`` (default: the additive fit), or None where it does not help.

    It helps if, in cross-validation within ``data``, networks left out at random are predicted at least a twentieth
    better with it than without, and families left out not worse. The noise of the kernel is chosen by the same figure.
    """
    base = base or additive()
    n = len(data.ms)
    if n < _FOLDS:
        return None
    order = np.random.default_rng(0).permutation(n)
    folds = [order[i::_FOLDS] for i in range(_FOLDS)]
    names = np.array(data.families)
    families = [np.flatnonzero(names == f) for f in sorted(set(data.families))]
    plain, corrected = _errors(data, base, folds)
    best = int(np.argmin(corrected))
    if corrected[best] > _GAIN * plain:
        return None
    if len(families) > 1:
        plain, corrected = _errors(data, base, families)
        if corrected[best] > plain:
            return None
    return _correction(data, base(data), _NOISES[best])


def _errors(data: Data, base: Method, cuts: list[np.ndarray]) -> tuple[float, Floats]:
    """Mean absolute logarithmic error of networks left out: without a correction, and with it for each noise."""
    everything = np.arange(len(data.ms))
    plain, corrected = [], []
    for unseen in cuts:
        seen, test = data.take(np.setdiff1d(everything, unseen)), data.take(unseen)
        model = base(seen)
        error = np.log(model(test.features) / test.ms)
        plain.append(np.abs(error))
        found = [_correction(seen, model, noise).factor(test.features @ TOTALS) for noise in _NOISES]
        corrected.append(np.abs(error + np.log(np.stack(found))))
    return float(np.concatenate(plain).mean()), np.concatenate(corrected, axis=1).mean(axis=1)


def _correction(data: Data, model: Predictor, noise: float) -> Residual:
    inputs = _inputs(data.features @ TOTALS)
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    points = _scaled(inputs, low, high)[:, :PLANE]
    missing = np.clip(np.log(data.ms / model(data.features)), -_LARGEST, _LARGEST)
    weights = solve(points, missing, WIDTH, noise)
    return Residual(
        tuple(low.tolist()), tuple(high.tolist()), tuple(map(tuple, points.tolist())), tuple(weights.tolist())
    )


def learn_residual(base: Method | None = None) -> Method:
    """A method: ``base`` (default: the additive fit), corrected where that helps."""
    plain = base or additive()

    def train(data: Data) -> Predictor:
        model, residual = plain(data), fit_residual(data, plain)
        if residual is None:
            return model
        return lambda features: model(features) * residual.factor(features @ TOTALS)

    return train
