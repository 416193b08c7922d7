"""Latency of a network as a sum over its operators.

.. math:: t = t_0 + n\\,t_{op} + \\sum_k c_k\\,\\mathrm{MMAC}_k + \\sum_j a_j\\,\\mathrm{MB}_j + w\\,\\mathrm{MB}_w

Eight non-negative constants a precision describe a device and its runtime. The model is additive, so that populations
are scored through the cost tables with one number a table entry, and it extrapolates to resolutions and widths that
nobody measured. The terms are a roofline's, operations and bytes, summed rather than maximised to stay linear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields

import numpy as np

from search_spaces.errors import UserError, unknown_name
from search_spaces.ops import KINDS
from search_spaces.space import Vectors

from .costs import ACTIVATION_BYTES, COLUMN, FEATURES, WEIGHT_BYTES, CostTables, Floats

MILLION = 1e6
# Matrix products run in the kernels of 1x1 convolutions. Elementwise operators and pools have no MACs that count.
_SHARED = {"linear": "pointwise", "matmul": "pointwise"}


@dataclass(frozen=True)
class Coefficients:
    """Constants of one precision on one target, in the order of the columns of :func:`design`.

    Attributes:
        conv_ms_per_mmac: dense and grouped k x k convolutions, ms per million multiply-accumulates.
        pointwise_ms_per_mmac: 1x1 convolutions, linear layers and matrix products.
        depthwise_ms_per_mmac: depthwise convolutions.
        activation_ms_per_mb: ms per 1e6 bytes of activations read or written, by all but the next.
        elementwise_ms_per_mb: the same for elementwise operators: residual sums, hard-swish and gates, which an int8
            runtime computes in more steps than it moves bytes.
        weight_ms_per_mb: ms per 1e6 bytes of weights.
        operator_ms: ms an operator.
        fixed_ms: ms a network.
    """

    conv_ms_per_mmac: float
    pointwise_ms_per_mmac: float
    depthwise_ms_per_mmac: float
    activation_ms_per_mb: float
    elementwise_ms_per_mb: float
    weight_ms_per_mb: float
    operator_ms: float
    fixed_ms: float


COEFFICIENTS = tuple(f.name for f in fields(Coefficients))


def _mixing(precision: str) -> Floats:
    """Matrix ``[features, 7]`` that turns feature rows into MMAC, MB and operators; :data:`COEFFICIENTS` less fixed."""
    if precision not in ACTIVATION_BYTES:
        raise unknown_name("precision", precision, ACTIVATION_BYTES)
    matrix = np.zeros((len(FEATURES), len(COEFFICIENTS) - 1))
    column = {name: i for i, name in enumerate(COEFFICIENTS)}
    for kind in KINDS:
        macs = f"{_SHARED.get(kind, kind)}_ms_per_mmac"
        if macs in column:
            matrix[COLUMN[f"macs_{kind}"], column[macs]] = 1 / MILLION
        moved = "elementwise_ms_per_mb" if kind == "elementwise" else "activation_ms_per_mb"
        matrix[COLUMN[f"moved_{kind}"], column[moved]] = ACTIVATION_BYTES[precision] / MILLION
        matrix[COLUMN[f"ops_{kind}"], column["operator_ms"]] = 1
    matrix[COLUMN["weights"], column["weight_ms_per_mb"]] = WEIGHT_BYTES[precision] / MILLION
    return matrix


def design(features: Floats, precision: str) -> Floats:
    """Rows ``[n, 8]`` whose product with the coefficients is milliseconds, of feature rows ``[n, features]``.

    Raises:
        UsageError: unknown precision.
    """
    return np.concatenate([features @ _mixing(precision), np.ones((len(features), 1))], axis=1)


@dataclass(frozen=True)
class AdditiveLatency:
    """The additive model of a target.

    Attributes:
        coefficients: by precision.
    """

    coefficients: Mapping[str, Coefficients] = field(hash=False)

    def _of(self, precision: str) -> Coefficients:
        if precision not in self.coefficients:
            raise unknown_name("precision", precision, self.coefficients)
        return self.coefficients[precision]

    def weights(self, precision: str) -> Floats:
        """One ms-per-unit weight a feature, ``[features]``, for :meth:`CostTables.additive`; add :meth:`fixed`.

        Raises:
            UsageError: the target has no constants for that precision.
        """
        weights: Floats = _mixing(precision) @ np.array(astuple(self._of(precision))[:-1])
        return weights

    def fixed(self, precision: str) -> float:
        """Milliseconds that every network costs."""
        return self._of(precision).fixed_ms

    def predict(self, features: Floats, precision: str) -> Floats:
        """Milliseconds ``[n]`` of feature rows ``[n, features]``, batch 1."""
        return features @ self.weights(precision) + self.fixed(precision)

    def predict_vectors(self, tables: CostTables, vectors: Vectors, precision: str) -> Floats:
        """Milliseconds ``[n]`` of gene vectors ``[n, genes]``, by table look-up."""
        return tables.additive(self.weights(precision), vectors) + self.fixed(precision)


def fit(features: Floats, measured_ms: Floats, precision: str, depthwise_floor: float = 1.0) -> Coefficients:
    """Coefficients that minimise the squared *relative* error, none of them negative.

    Non-negative least squares (Lawson and Hanson, 1974) on rows divided by the measured latency, so that a 2 ms
    network counts as much as a 100 ms one.

    Measured sets rarely vary the kernel, and then the MACs of a depthwise convolution cannot be told from its
    activations: the fit could make large kernels free. A MAC of a k x k or depthwise convolution therefore costs no
    less than one of a 1x1 convolution, which reuses its operands most, and a byte of an elementwise operator no less
    than another. To keep the problem non-negative, the column of the cheaper term also carries the dearer one, whose
    own column holds only what is above that.

    Args:
        features: ``[n, features]``, see ``predictors.costs``.
        measured_ms: ``[n]``, positive.
        precision: that the networks ran at.
        depthwise_floor: least cost of a depthwise MAC, in MACs of a 1x1 convolution.

    Raises:
        UserError: no networks, or a latency that is not a positive number.
        UsageError: unknown precision.
    """
    from scipy.optimize import nnls

    measured_ms = np.asarray(measured_ms, dtype=np.float64)
    if not len(measured_ms) or len(features) != len(measured_ms):
        raise UserError(
            f"cannot fit {len(features)} networks to {len(measured_ms)} latencies; give one each, 1 or more"
        )
    if wrong := [ms for ms in measured_ms.tolist() if not (math.isfinite(ms) and ms > 0)]:
        raise UserError(f"measured latency {wrong[0]} ms is not a positive number; leave that network out")
    above = np.eye(len(COEFFICIENTS))  # coefficients = above @ solution
    for dear, cheap, least in (
        ("conv_ms_per_mmac", "pointwise_ms_per_mmac", 1.0),
        ("depthwise_ms_per_mmac", "pointwise_ms_per_mmac", depthwise_floor),
        ("elementwise_ms_per_mb", "activation_ms_per_mb", 1.0),
    ):
        above[COEFFICIENTS.index(dear), COEFFICIENTS.index(cheap)] = least
    rows = design(features, precision) @ above / measured_ms[:, None]
    scale = np.linalg.norm(rows, axis=0)  # columns differ by orders of magnitude; equal ones keep the solver exact
    scale[scale == 0] = 1
    solution, _ = nnls(rows / scale, np.ones(len(rows)), maxiter=1000)
    return Coefficients(*(above @ (solution / scale)).tolist())


@dataclass(frozen=True)
class FitReport:
    """How well predictions agree with measurements.

    Attributes:
        mape: mean absolute error relative to the measurement, in percent.
        within_10: share of the networks predicted within 10 %, in percent.
        tau: Kendall's rank correlation (tau-b); nan for fewer than two networks.
        networks: how many were compared.
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
