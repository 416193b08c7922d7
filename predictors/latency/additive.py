"""Latency of a network as a sum over its operators, and what every latency model can do.

.. math:: t = t_0 + n\\,t_{op} + \\sum_k c_k\\,\\mathrm{MMAC}_k + \\sum_j a_j\\,\\mathrm{MB}_j + w\\,\\mathrm{MB}_w

Ten non-negative constants per precision describe a device and its runtime. The model is additive, so that populations
are scored through the cost tables with one number per table entry, and it extrapolates to resolutions and widths that
nobody measured. The terms are a roofline's, operations and bytes, summed rather than maximised to stay linear.

``fit`` finds the constants; ``operator_table`` corrects single operators of the model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Protocol

import numpy as np

from predictors.costs.network import ACTIVATION_BYTES, COLUMN, FEATURES, WEIGHT_BYTES
from predictors.costs.tables import CostTables
from search_spaces.errors import unknown_name
from search_spaces.genes import Floats
from search_spaces.operators.operator import KINDS

from .records import COEFFICIENTS, Coefficients

MILLION = 1e6
UNFOLD = 2.0
"""MACs that a byte of the unfolded image costs. Too few networks differ in it to fit this constant."""

# Matrix products run in the kernels of 1x1 convolutions. Elementwise operators and pools have no MACs that count.
_SHARED = {"linear": "pointwise", "matmul": "pointwise"}
_OWN_BYTES = {"elementwise": "elementwise_ms_per_mb", "pool": "pool_ms_per_mb"}


class LatencyModel(Protocol):
    """The latencies of one target: of single operators, of a network given as operators, and of the entries of cost
    tables. All describe the same model."""

    @property
    @abstractmethod
    def precisions(self) -> tuple[str, ...]:
        """The precisions that the model has constants for."""

    @abstractmethod
    def fixed(self, precision: str) -> float:
        """Milliseconds that every network costs."""

    @abstractmethod
    def operators(self, rows: Floats, precision: str) -> Floats:
        """Milliseconds ``[ops]`` of single operators ``[ops, features]``, see ``costs.network.operator_rows``."""

    @abstractmethod
    def entries(self, tables: CostTables, precision: str) -> list[Floats]:
        """Milliseconds of every entry of the tables, for :meth:`CostTables.lookup`, without what is fixed."""

    def network(self, rows: Floats, precision: str) -> float:
        """Milliseconds of a network, batch 1, from its operators ``[ops, features]``."""
        return float(self.operators(rows, precision).sum()) + self.fixed(precision)


def _mixing(precision: str) -> Floats:
    """Matrix ``[features, 9]`` that turns feature rows into MMAC, MB and operators; :data:`COEFFICIENTS` less fixed."""
    if precision not in ACTIVATION_BYTES:
        raise unknown_name("precision", precision, ACTIVATION_BYTES)
    matrix = np.zeros((len(FEATURES), len(COEFFICIENTS) - 1))
    column = {name: i for i, name in enumerate(COEFFICIENTS)}
    for kind in KINDS:
        macs = f"{_SHARED.get(kind, kind)}_ms_per_mmac"
        if macs in column:
            matrix[COLUMN[f"macs_{kind}"], column[macs]] = 1 / MILLION
        moved = _OWN_BYTES.get(kind, "activation_ms_per_mb")
        matrix[COLUMN[f"moved_{kind}"], column[moved]] = ACTIVATION_BYTES[precision] / MILLION
        matrix[COLUMN[f"ops_{kind}"], column["operator_ms"]] = 1
    matrix[COLUMN["stem"], column["stem_ms_per_mmac"]] = 1 / MILLION
    matrix[COLUMN["unfolded"], column["stem_ms_per_mmac"]] = UNFOLD * ACTIVATION_BYTES[precision] / MILLION
    matrix[COLUMN["stem"], column["conv_ms_per_mmac"]] = -1 / MILLION  # they are among macs_conv
    matrix[COLUMN["weights"], column["weight_ms_per_mb"]] = WEIGHT_BYTES[precision] / MILLION
    return matrix


def design(features: Floats, precision: str) -> Floats:
    """Rows ``[n, 10]`` whose product with the coefficients is milliseconds, of feature rows ``[n, features]``. Raises
    UsageError where the precision is unknown."""
    return np.concatenate([features @ _mixing(precision), np.ones((len(features), 1))], axis=1)


@dataclass(frozen=True)
class AdditiveLatency(LatencyModel):
    """The additive model of a target; ``coefficients`` by precision."""

    coefficients: Mapping[str, Coefficients] = field(hash=False)

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.coefficients)

    def of(self, precision: str) -> Coefficients:
        """The constants of a precision. Raises UsageError where there are none."""
        if precision not in self.coefficients:
            raise unknown_name("precision", precision, self.coefficients)
        return self.coefficients[precision]

    def weights(self, precision: str) -> Floats:
        """One ms-per-unit weight per feature, ``[features]``, for :meth:`CostTables.additive`; add :meth:`fixed`."""
        weights: Floats = _mixing(precision) @ np.array(astuple(self.of(precision))[:-1])
        return weights

    def fixed(self, precision: str) -> float:
        return self.of(precision).fixed_ms

    def predict(self, features: Floats, precision: str) -> Floats:
        """Milliseconds ``[n]`` of the feature rows ``[n, features]`` of whole networks, batch 1."""
        return features @ self.weights(precision) + self.fixed(precision)

    def operators(self, rows: Floats, precision: str) -> Floats:
        return rows @ self.weights(precision)

    def entries(self, tables: CostTables, precision: str) -> list[Floats]:
        weights = self.weights(precision)
        return [table @ weights for table in tables.tables]
