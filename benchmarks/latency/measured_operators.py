"""A table of operators, or blocks, that were measured one by one.

`nas profile` learns tables from whole networks instead (``predictors.latency.operator_learning``).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import product

import numpy as np

from predictors.costs.network import COLUMN, FEATURES, SUMS
from predictors.latency.fit import check_measurements
from predictors.latency.operator_table import kernel, log_features, log_ratios
from predictors.latency.records import Coefficients, OperatorTable
from search_spaces.genes import Floats

_WIDTHS, _NOISES = (0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 0.1, 1.0)


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
    ms = check_measurements(rows, measured_ms)
    ratios = log_ratios(rows, ms, coefficients, precision, 1e-3 * float(np.median(ms)))
    points = log_features(rows)
    apart = range(len(ms)) if groups is None else groups

    def error(choice: tuple[float, float]) -> float:
        return float(np.abs(leave_out(points, ratios, *choice, apart)).mean())

    width, noise = min(product(_WIDTHS, _NOISES), key=error)
    used = [name for name in FEATURES if name in SUMS and name != "params" and rows[:, COLUMN[name]].any()]
    kept = rows[:, [COLUMN[name] for name in used]]
    return OperatorTable(tuple(used), tuple(map(tuple, kept.tolist())), tuple(ms.tolist()), width, noise)


def leave_out(points: Floats, values: Floats, width: float, noise: float, groups: Sequence[Hashable]) -> Floats:
    """Errors ``[n]`` of the interpolation at the points of every group, from the other groups' points.

    With one point per group, equation 5.12 of Rasmussen and Williams (2006); with more, the same step for a block of
    the inverse.
    """
    inverse = np.linalg.inv(kernel(points, points, width) + noise * np.eye(len(points)))
    weights = inverse @ values
    errors = np.zeros(len(values))
    for group in dict.fromkeys(groups):
        inside = np.flatnonzero([g == group for g in groups])
        errors[inside] = np.linalg.solve(inverse[np.ix_(inside, inside)], weights[inside])
    return errors
