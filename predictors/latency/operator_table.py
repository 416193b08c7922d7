"""A look-up table of measured operators over the additive model, interpolated between them.

Kept is the ratio of what an operator took to what the additive model says, in logarithms, over the logarithms of the
operator's features: channels, resolution, kernel and kind. A measured operator gets its own latency, one in between
that of its neighbours, scaled; one far from all, or of a kind that was not measured, what the additive model says.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

import numpy as np

from predictors.costs.network import COLUMN, FEATURES, SUMS, CostTables, Floats
from predictors.costs.operators import operator_tables
from search_spaces.genes import Vectors

from .additive import AdditiveLatency, Coefficients, Corrected
from .fit import checked
from .kernel import kernel, leave_out, solve

_WIDTHS, _NOISES = (0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 0.1, 1.0)
_COLUMNS = [COLUMN[name] for name in SUMS if name != "params"]
_OPERATORS = [COLUMN[name] for name in SUMS if name.startswith("ops_")]
_BLOCK, _APART = 16, 2.0  # channels that kernels take at once; distance, in logarithms


@dataclass(frozen=True)
class OperatorTable:
    """Measured operators, or blocks of a few.

    Attributes:
        features: names of the columns of ``rows``; the other features are 0.
        rows: feature rows of what was measured.
        ms: how long each took, without what every network costs.
        width, noise: of the interpolation, see ``latency_kernel``; in natural logarithms of the features.
    """

    features: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    ms: tuple[float, ...]
    width: float
    noise: float

    def full_rows(self) -> Floats:
        """``[n, features]`` in the order of ``costs.FEATURES``."""
        full = np.zeros((len(self.rows), len(FEATURES)))
        full[:, [COLUMN[name] for name in self.features]] = np.array(self.rows)
        return full


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
    rows, ms = table.full_rows(), np.array(table.ms)
    least = 1e-3 * float(np.median(ms))
    ratios = _ratios(rows, ms, coefficients, precision, least)
    return log_features(rows), solve(log_features(rows), ratios, table.width, table.noise), least


def _ratios(rows: Floats, ms: Floats, coefficients: Coefficients, precision: str, least: float) -> Floats:
    predicted = AdditiveLatency({precision: coefficients}).operators(rows, precision)
    ratios: Floats = np.log((ms + least) / (predicted + least))
    return ratios


@dataclass(frozen=True)
class TableLatency(Corrected):
    """The additive model, corrected operator by operator.

    Attributes:
        base: says what nobody measured.
        tables: by precision; the others are left as they are.
    """

    base: AdditiveLatency
    tables: Mapping[str, OperatorTable] = field(hash=False)

    def operators(self, rows: Floats, precision: str) -> Floats:
        """As in ``LatencyModel``."""
        plain = self.base.operators(rows, precision)
        if (table := self.tables.get(precision)) is None:
            return plain
        points, weights, least = _solved(table, self.base.of(precision), precision)
        corrected: Floats = (plain + least) * np.exp(kernel(log_features(rows), points, table.width) @ weights) - least
        return np.maximum(corrected, 0)

    def network(self, rows: Floats, precision: str) -> float:
        """As in ``LatencyModel``."""
        return float(self.operators(rows, precision).sum()) + self.fixed(precision)

    def predict_vectors(self, tables: CostTables, vectors: Vectors, precision: str) -> Floats:
        """As in ``LatencyModel``."""
        return tables.lookup(self.entries(tables, precision), vectors) + self.fixed(precision)

    def entries(self, tables: CostTables, precision: str) -> list[Floats]:
        """As in ``LatencyModel``; the first call for a space traces its operators."""
        if precision not in self.tables:
            return self.base.entries(tables, precision)
        known = operator_tables(tables)
        return known.totals(self.operators(known.rows, precision))

    def correction(self, tables: CostTables, vectors: Vectors, precision: str) -> Floats:
        """As in ``LatencyModel``: none."""
        return self.base.correction(tables, vectors, precision)


def fit_operators(
    coefficients: Coefficients,
    rows: Floats,
    measured_ms: Floats,
    precision: str,
    groups: Sequence[Hashable] | None = None,
) -> OperatorTable:
    """A table of measured operators; how smooth the interpolation is, is chosen by leaving out each group in turn.

    Args:
        coefficients: of the additive model, fitted beforehand.
        rows: ``[n, features]``, one operator (or block) a row.
        measured_ms: ``[n]``, without what every network costs.
        precision: that they ran at.
        groups: of each operator, as what the table will be asked for differs from what was measured: a group a stage
            of networks for stages between those; None: every operator by itself.

    Raises:
        UserError: no operators, or a latency that is not a positive number.
    """
    ms = checked(rows, measured_ms)
    ratios = _ratios(rows, ms, coefficients, precision, 1e-3 * float(np.median(ms)))
    points = log_features(rows)
    apart = range(len(ms)) if groups is None else groups

    def error(choice: tuple[float, float]) -> float:
        return float(np.abs(leave_out(points, ratios, *choice, apart)).mean())

    width, noise = min(product(_WIDTHS, _NOISES), key=error)
    used = [name for name in FEATURES if name in SUMS and name != "params" and rows[:, COLUMN[name]].any()]
    kept = rows[:, [COLUMN[name] for name in used]]
    return OperatorTable(tuple(used), tuple(map(tuple, kept.tolist())), tuple(ms.tolist()), width, noise)
