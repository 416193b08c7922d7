"""How long single operators take, learned from whole networks.

A runtime's kernels work in blocks of channels, reorder tensors and split operators, which ten constants cannot say.
Every measured network is a sum over its operators, so the sums tell where operators of some shape are slower or faster
than the additive model has it. With :math:`b_o` what that model says of operator *o*, and :math:`g` a Gaussian process
over the operators' features,

.. math:: t = t_0 + \\sum_o b_o\\,e^{g(x_o)}

is linear in :math:`g` around any present :math:`g`, so that its posterior is a few linear systems with a row per
network (linear functions of a process are Gaussian too: Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, section 9.8). The result is an :class:`OperatorTable`, as if operators had been measured one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np

from predictors.costs.network import COLUMN, SUMS
from search_spaces.genes import Floats

from .additive import AdditiveLatency
from .operator_table import kernel, log_features
from .records import Coefficients, OperatorTable

_WIDTHS, _SPREADS = (0.1, 0.5, 1.0, 2.0, 4.0), (0.05, 0.1, 0.2, 0.4)  # in logarithms: of features, of milliseconds
_NOISES = (0.004, 0.02)  # relative deviations of measurements: careful, and on a busy device
_FARTHEST = 3.0  # spreads that an operator may be off; beyond, measurements contradict each other
_STEPS = 3  # of Gauss-Newton; corrections are tens of percent, so the third changes little
_WORTH = 0.95  # a table must leave at most this share of the additive model's error
_MOST = 400  # operators kept in the table
_TABLE_NOISE = 1e-3
_KNOWN = 1e-4  # variance of an operator, given those kept, that needs no row


@dataclass(frozen=True)
class Networks:
    """Networks as counts ``[n, operators]`` of distinct operators, whose rows are ``[operators, features]``."""

    rows: Floats
    counts: Floats

    @classmethod
    def of(cls, networks: Sequence[Floats]) -> Networks:
        """From the operator rows ``[ops, features]`` of each network."""
        rows, numbers = np.unique(np.concatenate(networks), axis=0, return_inverse=True)
        counts = np.zeros((len(networks), len(rows)))
        owner = np.repeat(np.arange(len(networks)), [len(n) for n in networks])
        np.add.at(counts, (owner, numbers.reshape(-1)), 1)
        return cls(rows, counts)


def learn_operators(
    coefficients: Coefficients, networks: Networks, measured_ms: Floats, precision: str
) -> OperatorTable | None:
    """A table of corrected operators, of coefficients fitted to these networks, measured in ``[n]`` ms; None where
    leaving each network out in turn shows no gain."""
    base = AdditiveLatency({precision: coefficients})
    plain = base.operators(networks.rows, precision)
    active = plain > 0
    if len(measured_ms) < 4 or not active.any():
        return None
    rows, counts, plain = networks.rows[active], networks.counts[:, active], plain[active]
    points = log_features(rows)
    fixed = base.fixed(precision)
    n, terms = len(measured_ms), int(np.count_nonzero(astuple(coefficients)))
    seen = float(np.abs(1 - (counts @ plain + fixed) / measured_ms).mean())
    before = seen * n / max(n - terms, 1)  # of networks left out: a fit takes on average terms / n of their weight
    similar = {width: kernel(points, points, width) for width in _WIDTHS}
    tried = []
    for width, spread, noise in product(_WIDTHS, _SPREADS, _NOISES):
        error, corrections = _corrections(plain, counts, fixed, measured_ms, spread**2 * similar[width], noise)
        if np.abs(corrections).max() <= _FARTHEST * spread:
            tried.append((error, corrections, width))
    error, corrections, width = min(tried, key=lambda each: each[0], default=(math.inf, plain, 0.0))
    if error > _WORTH * before:
        return None
    kept = _spread_out(similar[width], _MOST)
    used = [name for name in SUMS if name != "params" and rows[:, COLUMN[name]].any()]
    return OperatorTable(
        tuple(used),
        tuple(map(tuple, rows[np.ix_(kept, [COLUMN[name] for name in used])].tolist())),
        tuple((plain * np.exp(corrections))[kept].tolist()),
        width,
        _TABLE_NOISE,
    )


def _corrections(
    plain: Floats, counts: Floats, fixed: float, measured_ms: Floats, covariance: Floats, noise: float
) -> tuple[float, Floats]:
    """Mean relative error of networks left out in turn (ibid., equation 5.12), and the correction ``[operators]`` in
    logarithms."""
    g = np.zeros(len(plain))
    for _ in range(_STEPS):
        now = plain * np.exp(g)
        effect = counts * now / measured_ms[:, None]  # of a change of g on each network's relative latency
        missing = 1 - (counts @ now + fixed) / measured_ms + effect @ g
        inverse = np.linalg.inv(effect @ covariance @ effect.T + noise**2 * np.eye(len(measured_ms)))
        weights = inverse @ missing
        g = covariance @ (effect.T @ weights)
    return float(np.abs(weights / np.diag(inverse)).mean()), g


def _spread_out(similar: Floats, most: int) -> list[int]:
    """Indices of operators that say most about the others: pivoted Cholesky, the worst known next."""
    n = len(similar)
    unknown = np.diag(similar).copy()
    factors = np.zeros((n, min(n, most)))
    chosen: list[int] = []
    for k in range(min(n, most)):
        pivot = int(np.argmax(unknown))
        if unknown[pivot] < _KNOWN:
            break
        chosen.append(pivot)
        factors[:, k] = (similar[:, pivot] - factors[:, :k] @ factors[pivot, :k]) / np.sqrt(unknown[pivot])
        unknown = np.maximum(unknown - factors[:, k] ** 2, 0)
    return chosen
