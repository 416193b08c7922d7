"""A look-up table of measured operators over the additive model, interpolated between them.

The table stores, per operator, log(measured / additive prediction), as a function of the logarithms of the operator's
features: channels, resolution, kernel and kind. A measured operator gets its own latency, and one between measured ones
its neighbours' correction. Far from all of them, or for a kind that was not measured, the additive model is left as it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from predictors.costs.network import COLUMN, FEATURES, SUMS
from predictors.costs.tables import CostTables, operator_tables
from search_spaces.genes import Floats

from .additive import AdditiveLatency, LatencyModel
from .records import Coefficients, OperatorTable

_COLUMNS = [COLUMN[name] for name in SUMS if name != "params"]
_OPERATORS = [COLUMN[name] for name in SUMS if name.startswith("ops_")]
_BLOCK, _APART = 16, 2.0  # channels that kernels take at once; distance, in logarithms


def log_features(rows: Floats) -> Floats:
    """Where operators ``[n, features]`` lie for the interpolation, ``[n, coordinates]``.

    Kernels work on blocks of channels and are slow with the rest, so single operators whose channels fill the blocks
    lie apart from those that leave some over.
    """
    single = rows[:, _OPERATORS].sum(axis=1) == 1
    over = single & (rows[:, COLUMN["channels"]] % _BLOCK > 0)
    points: Floats = np.concatenate([np.log1p(rows[:, _COLUMNS]), _APART * over[:, None]], axis=1)
    return points


@lru_cache(maxsize=32)
def _solved(table: OperatorTable, coefficients: Coefficients, precision: str) -> tuple[Floats, Floats, float]:
    """Points, weights, and the ms that are added before taking logarithms (an operator may be predicted as 0)."""
    rows, ms = np.zeros((len(table.rows), len(FEATURES))), np.array(table.ms)
    rows[:, [COLUMN[name] for name in table.features]] = np.array(table.rows)
    least = 1e-3 * float(np.median(ms))
    ratios = log_ratios(rows, ms, coefficients, precision, least)
    return log_features(rows), solve(log_features(rows), ratios, table.width, table.noise), least


def log_ratios(rows: Floats, ms: Floats, coefficients: Coefficients, precision: str, least: float) -> Floats:
    predicted = AdditiveLatency({precision: coefficients}).operators(rows, precision)
    ratios: Floats = np.log((ms + least) / (predicted + least))
    return ratios


@dataclass(frozen=True)
class TableLatency(LatencyModel):
    """The additive model, corrected operator by operator; precisions that have no table are left as they are."""

    base: AdditiveLatency
    tables: Mapping[str, OperatorTable] = field(hash=False)

    @property
    def precisions(self) -> tuple[str, ...]:
        return self.base.precisions

    def fixed(self, precision: str) -> float:
        return self.base.fixed(precision)

    def operators(self, rows: Floats, precision: str) -> Floats:
        plain = self.base.operators(rows, precision)
        if (table := self.tables.get(precision)) is None:
            return plain
        points, weights, least = _solved(table, self.base.of(precision), precision)
        corrected: Floats = (plain + least) * np.exp(kernel(log_features(rows), points, table.width) @ weights) - least
        return np.maximum(corrected, 0)

    def entries(self, tables: CostTables, precision: str) -> list[Floats]:
        """The first call for a space traces its operators."""
        if precision not in self.tables:
            return self.base.entries(tables, precision)
        known = operator_tables(tables.space, tables.interface)
        return known.totals(self.operators(known.rows, precision))


def kernel(a: Floats, b: Floats, width: float) -> Floats:
    """Similarities ``[n, m]`` of points ``[n, d]`` and ``[m, d]``, at most 1: of a Gaussian process with mean 0, which
    fades to nothing far from what it has seen (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
    section 2.2)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    similar: Floats = np.exp(-np.maximum(squares, 0) / (2 * width**2))
    return similar


def solve(points: Floats, values: Floats, width: float, noise: float) -> Floats:
    """Weights ``[n]`` so that ``kernel(x, points, width) @ weights`` interpolates ``values [n]``, whose noise has that
    variance (above 0) in units of their own."""
    covariance = kernel(points, points, width) + noise * np.eye(len(points))
    return np.asarray(np.linalg.solve(covariance, values), dtype=np.float64)
