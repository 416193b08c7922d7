"""Fitting the additive latency model to measured networks, and how well it predicts networks it has not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from predictors.costs.network import COLUMN
from search_spaces.errors import UserError
from search_spaces.genes import Floats

from .additive import design
from .records import COEFFICIENTS, Coefficients

_NOISE = 0.01
"""Least relative deviation of one measurement; repeated benchmarks of small boards differ by 1 to 3 %."""

_HUBER, _ITERATIONS = 1.5, 10
_SHARES = {"stem_ms_per_mmac": 0.1, "operator_ms": 0.1, "fixed_ms": 0.05}
"""Of a network's latency that a term is thought to be worth, give or take as much; half of it for the other terms."""

_DEARER = 2.0
_BYTE, _DEAR_BYTES = "weight_ms_per_mb", ("pool_ms_per_mb", "elementwise_ms_per_mb")
"""A byte of these is thought to cost no more than so many times what bytes do that take half of the latency: most
networks have few of them, and those that have many would pay for a guess."""

_ROUNDING = 1e-12

# A dear operation costs no less than the cheap one: see fit(). From the ground up: elementwise stands on activation.
_FLOORS = (
    ("stem_ms_per_mmac", "pointwise_ms_per_mmac"),
    ("conv_ms_per_mmac", "pointwise_ms_per_mmac"),
    ("depthwise_ms_per_mmac", "pointwise_ms_per_mmac"),
    ("activation_ms_per_mb", "weight_ms_per_mb"),
    ("elementwise_ms_per_mb", "activation_ms_per_mb"),
    ("pool_ms_per_mb", "activation_ms_per_mb"),
)


def fit(features: Floats, measured_ms: Floats, precision: str, depthwise_floor: float = 1.0) -> Coefficients:
    """Coefficients with a small *relative* error, none of them negative.

    Non-negative least squares (Lawson and Hanson, 1974) on rows divided by the measured latency, so that a 2 ms
    network counts as much as a 100 ms one, with

    - Huber's weights (Robust Estimation of a Location Parameter, 1964), reweighted a few times: a network that is off
      by more than 1.5 robust deviations counts linearly, so that one bad measurement does not bend the rest;
    - a weak prior: each term is thought to be worth some of a network's latency, see ``_SHARES``. Terms that the data
      cannot tell apart then share what they explain, instead of one of them taking it all, which is what another
      family of networks would pay for. With small noise or many networks the prior vanishes.

    Measured networks rarely vary the kernel, and then the MACs of a depthwise
    convolution cannot be told from its activations: the fit could make large kernels free. So a MAC of a stem or a
    depthwise convolution costs no less than one of a 1x1 convolution, which reuses its operands most; a byte of
    activations no less than one of weights, which are read once, in order; a byte of an elementwise operator or a pool
    no less than another. Where no network has a k x k convolution besides the stem, its MACs cost what those of a 1x1
    do; where some have, nothing is assumed (fast algorithms multiply less often than is counted). To keep the problem
    non-negative, the column of the cheaper term also carries the dearer one, whose own column holds only what is above
    that.

    Args:
        features: ``[n, features]``, of networks measured in ``[n]`` ms.
        depthwise_floor: least cost of a depthwise MAC, in MACs of a 1x1 convolution.

    Raises:
        UserError: no networks, or a latency that is not a positive number.
        UsageError: unknown precision.
    """
    from scipy.optimize import nnls

    measured_ms = check_measurements(features, measured_ms)
    convolutions = bool((features[:, COLUMN["macs_conv"]] > features[:, COLUMN["stem"]]).any())
    above = _above(depthwise_floor, convolutions)
    rows = design(features, precision) @ above / measured_ms[:, None]
    scale = np.linalg.norm(rows, axis=0)  # columns differ by orders of magnitude; equal ones keep the solver exact
    rows[:, scale < _ROUNDING * scale.max()] = 0  # no k x k convolution but the stem: what is left of a difference
    scale[scale < _ROUNDING * scale.max()] = 1
    rows = rows / scale
    n, terms = rows.shape
    shares = _shares(scale)
    weight, prior = np.ones(n), np.zeros(terms)
    for _ in range(_ITERATIONS):
        stacked = np.concatenate([rows * weight[:, None], np.diag(prior)])
        solution, _ = nnls(stacked, np.concatenate([weight, np.zeros(terms)]), maxiter=1000)
        error = np.abs(rows @ solution - 1)
        spread = 1.4826 * float(np.median(error)) * math.sqrt(n / max(n - np.count_nonzero(solution), 1))
        noise = max(spread, _NOISE)
        weight = np.sqrt(np.minimum(1, _HUBER * noise / np.maximum(error, 1e-12)))
        prior = noise / (shares * math.sqrt(n))  # a solution of sqrt(n) is a term that takes all of the latency
    return Coefficients(*(above @ (solution / scale)).tolist())


def _shares(scale: Floats) -> Floats:
    """How much of the latency each term is thought to be worth, ``[10]``; ``scale`` says how much there is of it."""
    column = {name: i for i, name in enumerate(COEFFICIENTS)}
    shares = np.array([_SHARES.get(name, 0.5) for name in COEFFICIENTS])
    for name in _DEAR_BYTES:  # the cheap byte's column holds all bytes
        shares[column[name]] *= _DEARER * scale[column[name]] / scale[column[_BYTE]]
    return shares


def check_measurements(features: Floats, measured_ms: Floats) -> Floats:
    """The measurements. Raises UserError where there are no networks, or a latency is not a positive number."""
    measured_ms = np.asarray(measured_ms, dtype=np.float64)
    if not len(measured_ms) or len(features) != len(measured_ms):
        raise UserError(
            f"cannot fit {len(features)} networks to {len(measured_ms)} latencies; give a latency for each network"
        )
    if wrong := [ms for ms in measured_ms.tolist() if not (math.isfinite(ms) and ms > 0)]:
        raise UserError(f"measured latency {wrong[0]} ms is not a positive number; leave that network out")
    return measured_ms


def _above(depthwise_floor: float, convolutions: bool) -> Floats:
    """Matrix ``[10, 10]``: coefficients = matrix @ solution, where a dear term's entry is what it costs above least."""
    above = np.eye(len(COEFFICIENTS))
    least = {"depthwise_ms_per_mmac": depthwise_floor, "conv_ms_per_mmac": 0.0 if convolutions else 1.0}
    for dear, cheap in _FLOORS:
        above[COEFFICIENTS.index(dear)] += least.get(dear, 1.0) * above[COEFFICIENTS.index(cheap)]
    return above


@dataclass(frozen=True)
class FitReport:
    """How well predictions agree with measurements.

    Attributes:
        mape, within_10: in percent, mean absolute error relative to the measurement, and networks within 10 %.
        tau: Kendall's rank correlation (tau-b); nan for fewer than two networks.
    """

    mape: float
    within_10: float
    tau: float
    networks: int

    @property
    def label(self) -> str:
        """As a target file states it."""
        return f"calibrated (MAPE {self.mape:.1f} %, tau {self.tau:.2f}, {self.networks} networks)"


def fit_report(predicted_ms: Floats, measured_ms: Floats) -> FitReport:
    """Compare ``[n]`` predictions with ``[n]`` measurements. Give networks the fit has not seen."""
    from scipy.stats import kendalltau

    relative = np.abs(predicted_ms / measured_ms - 1)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic) if len(relative) > 1 else math.nan
    return FitReport(float(relative.mean() * 100), float((relative <= 0.1).mean() * 100), tau, len(relative))
