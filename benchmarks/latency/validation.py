"""How well a way to predict latencies does on networks that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from predictors.costs.tables import CostTables
from predictors.latency.additive import AdditiveLatency, LatencyModel
from predictors.latency.extent import extents_of, range_of
from predictors.latency.fit import FitReport, fit, fit_report
from predictors.latency.measured import MeasuredRange
from search_spaces.genes import Floats, Vectors


@dataclass(frozen=True)
class Data:
    """Measured networks, ``[n, features]`` and ``[n]``; of their families, each is left out as a whole. ``px``: the
    shorter side of each network's images, 0 where it is for sounds; empty: not known."""

    features: Floats
    ms: Floats
    precision: str
    families: tuple[str, ...]
    px: tuple[int, ...] = ()

    def take(self, rows: Sequence[int] | np.ndarray) -> Data:
        """Some of the networks."""
        families, px = tuple(self.families[i] for i in rows), tuple(self.px[i] for i in rows) if self.px else ()
        return Data(self.features[rows], self.ms[rows], self.precision, families, px)

    @property
    def measured(self) -> MeasuredRange | None:
        """From the least to the most of them; None: how large their images are isn't known."""
        return range_of(extents_of(self.features, self.ms, self.px)) if self.px else None


Predictor = Callable[[Floats], Floats]
"""Feature rows ``[n, features]`` of whole networks to milliseconds ``[n]``."""

Method = Callable[[Data], Predictor]
"""What turns measured networks into a predictor."""


def additive(depthwise_floor: float = 1.0) -> Method:
    """:func:`predictors.latency.fit.fit` as a method."""

    def train(data: Data) -> Predictor:
        model = AdditiveLatency({data.precision: fit(data.features, data.ms, data.precision, depthwise_floor)})
        return lambda features: model.predict(features, data.precision)

    return train


@dataclass(frozen=True)
class Validation:
    """Reports on networks the fit had not seen, pooled over random splits (None: too few networks for one), and over
    every family left out in turn (None: there is only one); ``mean_tau`` is the mean over single splits, since pooled
    tau counts pairs across splits too."""

    splits: FitReport | None
    mean_tau: float
    families: FitReport | None


def cross_validate(data: Data, method: Method, train: int = 20, seeds: int = 20) -> Validation:
    """Random splits (``default_rng(seed).permutation(n)``, the first ``train`` to fit, the rest to test), then
    families.

    Reports carry the number of all networks, each of which is predicted by fits without it.
    """
    n = len(data.ms)
    orders = [np.random.default_rng(seed).permutation(n) for seed in range(seeds)] if n > train else []
    names = np.array(data.families)
    parts = [(np.flatnonzero(names != f), np.flatnonzero(names == f)) for f in sorted(set(data.families))]
    splits, mean_tau = _held_out(data, method, [(order[:train], order[train:]) for order in orders])
    families, _ = _held_out(data, method, parts if len(parts) > 1 else [])
    return Validation(splits, mean_tau, families)


def _held_out(
    data: Data, method: Method, cuts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[FitReport | None, float]:
    """Pooled report, and the mean tau of a cut."""
    pairs = [(method(data.take(seen))(data.features[unseen]), data.ms[unseen]) for seen, unseen in cuts]
    if not pairs:
        return None, math.nan
    taus = [tau for p, m in pairs if len(p) > 1 and math.isfinite(tau := fit_report(p, m).tau)]
    pooled = fit_report(np.concatenate([p for p, _ in pairs]), np.concatenate([m for _, m in pairs]))
    return replace(pooled, networks=len(data.ms)), float(np.mean(taus)) if taus else math.nan


def predict_vectors(model: LatencyModel, tables: CostTables, vectors: Vectors, precision: str) -> Floats:
    """Milliseconds ``[n]`` of gene vectors ``[n, genes]``, by table look-up."""
    return tables.lookup(model.entries(tables, precision), vectors) + model.fixed(precision)
