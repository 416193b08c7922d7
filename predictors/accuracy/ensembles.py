"""Alternatives to the Gaussian process: ensembles of scikit-learn's boosted trees or small neural networks.

One member is fitted to all measurements but those of one fold. The ensemble's prediction is the members' mean, each
fold's prediction by its own member is a cross-validation at no further cost, and the members' disagreement shapes
the deviation (Barber et al., Predictive inference with the jackknife+, Annals of Statistics 2021, section 3). Members
learn the residual of a ridge regression, so that they need not spend measurements on the linear part.

Fitted members are plain arrays and predict with numpy: a saved one needs neither scikit-learn nor its version.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import UsageError, install_hint
from search_spaces.genes import Floats

from .features import Features, unwarp, warp

FOLDS = 5
_DEPTH, _TREES = 3, 40
_INNER = 2**_DEPTH - 1
_HIDDEN = 48
_CHUNK = 4096


def folds(n: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of :data:`FOLDS` random parts of ``n`` measurements."""
    return np.array_split(np.random.default_rng([seed, 11]).permutation(n), FOLDS)


@dataclass(frozen=True)
class _Ensemble(ABC):
    """What both kinds share. A fit needs at least ten measurements, and estimates the noise by cross-validation.

    Attributes:
        x_mean, x_std: mean and deviation that features are standardised by.
        slope, offset: of the ridge regression, ``[members, features]`` and ``[members]``.
        unit: factor of the members' outputs.
        held_out: prediction of each measured candidate by the member that has not seen it (see ``warp``), ``[n]``.
        error: the deviation that covers 68 % of the errors of ``held_out``.
        disagreement: root mean square of the members' disagreement on the measured candidates.
    """

    least: ClassVar[int] = 2 * FOLDS

    x_mean: Floats
    x_std: Floats
    slope: Floats
    offset: Floats
    unit: float
    held_out: Floats
    error: float
    disagreement: float

    @classmethod
    def fit(cls, features: Features, accuracy: Floats, noise_std: float, seed: int) -> Self:
        """Raises UsageError where scikit-learn is not installed."""
        if len(accuracy) < 2 * FOLDS:
            raise ValueError(f"an ensemble needs at least {2 * FOLDS} measurements, not {len(accuracy)}")
        x, y = features.columns(), warp(accuracy)
        mean, std = x.mean(0), x.std(0)
        std = np.where(std < 1e-9, 1.0, std)
        x = (x - mean) / std
        unit = max(float(y.std()), 1e-9)
        linear, members = [], []
        parts = folds(len(x), seed)
        for fold, rows in enumerate(parts):
            rest = np.setdiff1d(np.arange(len(x)), rows)
            slope, offset = _ridge(x[rest], y[rest])
            linear.append((slope, offset))
            members.append(cls.learn(x[rest], (y[rest] - x[rest] @ slope - offset) / unit, seed * FOLDS + fold))
        fitted = {
            "x_mean": mean, "x_std": std, "unit": unit, "held_out": np.zeros(len(x)), "error": 0.0, "disagreement": 0.0,
            "slope": np.stack([s for s, _ in linear]), "offset": np.array([o for _, o in linear]),
            **{name: np.stack([np.asarray(m[name]) for m in members]) for name in members[0]},
        }  # fmt: skip
        each = cls(**fitted)._each(x)
        for fold, rows in enumerate(parts):
            fitted["held_out"][rows] = each[fold, rows]
        fitted["error"] = float(np.quantile(np.abs(fitted["held_out"] - y), 0.683))
        fitted["disagreement"] = float(np.sqrt(np.mean(each.var(axis=0))))
        return cls(**fitted)

    @staticmethod
    @abstractmethod
    def learn(x: Floats, y: Floats, seed: int) -> dict[str, NDArray[Any]]:
        """One member's part of the arrays, fitted to standardised rows ``[n, features]`` and values ``[n]``."""

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        each = self._each(self._standardise(features))
        spread = each.std(axis=0) / max(self.disagreement, 1e-12)
        mean = unwarp(each.mean(axis=0))
        return mean, (1 - mean) * self.error * np.sqrt(0.5 + 0.5 * np.minimum(spread, 3.0) ** 2)

    def mean_of(self, features: Features) -> Floats:
        return unwarp(self._each(self._standardise(features)).mean(axis=0))

    def covariance(self, features: Features, pick: int) -> Floats:
        """By the members' disagreement."""
        each = self._each(self._standardise(features))
        mean = each.mean(axis=0)
        apart = (each - mean) / max(self.disagreement, 1e-12)
        slope = 1 - unwarp(mean)
        shared: Floats = slope * slope[pick] * self.error**2 * 0.5 * np.mean(apart * apart[:, [pick]], axis=0)
        return shared

    def leave_one_out(self) -> Floats:
        return unwarp(self.held_out)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    def _standardise(self, features: Features) -> Floats:
        scaled: Floats = (features.columns() - self.x_mean) / self.x_std
        return scaled

    def _each(self, x: Floats) -> Floats:
        """Every member's prediction, ``[members, n]``."""
        return self.slope @ x.T + self.offset[:, None] + self.unit * self.members(x)

    @abstractmethod
    def members(self, x: Floats) -> Floats:
        """Every member's output, ``[members, n]``, in units of ``unit``."""


@dataclass(frozen=True)
class BoostedTrees(_Ensemble):
    """Gradient boosting; trees of depth 3 in heap order (children of node i are 2i + 1 and 2i + 2).

    Attributes:
        split: feature of each inner node, ``[members, trees, 7]``.
        threshold: a row goes right where its feature is above, ``[members, trees, 7]``.
        leaf: values, learning rate included, ``[members, trees, 8]``.
        start: what the trees' sum starts from, ``[members]``.
    """

    kind: ClassVar[str] = "boosting"

    split: NDArray[np.int64]
    threshold: Floats
    leaf: Floats
    start: Floats

    @staticmethod
    def learn(x: Floats, y: Floats, seed: int) -> dict[str, NDArray[Any]]:
        """Gradient boosting (Friedman, 2001) by scikit-learn."""
        model = _sklearn().ensemble.GradientBoostingRegressor(
            n_estimators=_TREES, learning_rate=0.15, max_depth=_DEPTH, subsample=0.6, max_features=0.3,
            random_state=seed,
        ).fit(x, y)  # fmt: skip
        trees = [_heap(stage[0].tree_, model.learning_rate) for stage in model.estimators_]
        split, threshold, leaf = (np.stack(part) for part in zip(*trees, strict=True))
        return {"split": split, "threshold": threshold, "leaf": leaf, "start": model.init_.constant_.ravel()[0]}

    def members(self, x: Floats) -> Floats:
        single = x.astype(np.float32)  # as scikit-learn compares
        parts = [self._rows(single[i : i + _CHUNK]) for i in range(0, len(x), _CHUNK)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(self.start), 0))

    def _rows(self, x: NDArray[np.float32]) -> Floats:
        members, trees, nodes = self.split.shape
        right = x[:, self.split.ravel()] > self.threshold.ravel()
        base = np.arange(members * trees) * nodes
        node = np.zeros((len(x), members * trees), dtype=np.int64)
        for _ in range(_DEPTH):
            node = 2 * node + 1 + np.take_along_axis(right, base + node, axis=1)
        values = self.leaf.reshape(members * trees, -1)[np.arange(members * trees), node - nodes]
        total: Floats = values.reshape(len(x), members, trees).sum(axis=2).T + self.start[:, None]
        return total


@dataclass(frozen=True)
class MLPEnsemble(_Ensemble):
    """Networks of one hidden layer (tanh).

    Attributes:
        inner, inner_bias: ``[members, features, hidden]`` and ``[members, hidden]``.
        outer, outer_bias: ``[members, hidden]`` and ``[members]``.
    """

    kind: ClassVar[str] = "mlp"

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats

    @staticmethod
    def learn(x: Floats, y: Floats, seed: int) -> dict[str, NDArray[Any]]:
        """A small neural network by scikit-learn."""
        model = _sklearn().neural_network.MLPRegressor(
            hidden_layer_sizes=(_HIDDEN,), activation="tanh", alpha=3.0, solver="lbfgs", max_iter=40, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopping early is meant
            model.fit(x, y)
        (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
        return {"inner": inner, "inner_bias": inner_bias, "outer": outer[:, 0], "outer_bias": outer_bias[0]}

    def members(self, x: Floats) -> Floats:
        hidden = np.tanh(x @ self.inner + self.inner_bias[:, None])
        out: Floats = np.einsum("mnh,mh->mn", hidden, self.outer) + self.outer_bias[:, None]
        return out


def _ridge(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Slope and offset of the ridge regression whose penalty leaves the least leave-one-out error."""
    centre, offset = x.mean(0), float(y.mean())
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    projected = u.T @ (y - offset)
    best, slope = np.inf, np.zeros(x.shape[1])
    for penalty in np.logspace(-1, 3, 9):
        shrink = s**2 / (s**2 + penalty)
        leverage = np.minimum((u**2) @ shrink + 1 / len(y), 0.999)
        error = float(np.mean(((y - offset - u @ (shrink * projected)) / (1 - leverage)) ** 2))
        if error < best:
            best, slope = error, vt.T @ (shrink / np.maximum(s, 1e-12) * projected)
    return slope, offset - float(centre @ slope)


def _heap(tree: Any, rate: float) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Split features, thresholds and leaf values of a fitted tree, as a complete tree of depth 3."""
    split, threshold, leaf = np.zeros(_INNER, dtype=np.int64), np.full(_INNER, np.inf), np.zeros(_INNER + 1)
    places = [(0, 0)]
    while places:
        place, node = places.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if place >= _INNER:
            leaf[place - _INNER] = rate * tree.value[node, 0, 0]
        elif left < 0:  # a leaf higher up: everything goes left of a threshold that nothing is above
            places.append((2 * place + 1, node))
        else:
            split[place], threshold[place] = tree.feature[node], tree.threshold[node]
            places += [(2 * place + 1, left), (2 * place + 2, right)]
    return split, threshold, leaf


def _sklearn() -> Any:
    """scikit-learn, imported when it is needed."""
    try:
        import sklearn
        import sklearn.ensemble
        import sklearn.neural_network
    except ImportError:
        raise UsageError(
            f"the accuracy predictors 'boosting' and 'mlp' need scikit-learn; {install_hint('.[predictors]')}"
        ) from None
    return sklearn
