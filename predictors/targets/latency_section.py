"""The tables ``[latency.<precision>]`` of a target file: what is wrong with them, the model they describe, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from predictors.costs.network import COLUMN, FEATURES, SUMS
from predictors.latency.additive import AdditiveLatency, LatencyModel
from predictors.latency.measured import MeasuredRange
from predictors.latency.operator_table import TableLatency
from predictors.latency.records import COEFFICIENTS, OperatorTable
from search_spaces.policy import PRECISIONS

from .record import Latency

SHORTEST_MS, LONGEST_MS = 0.05, 1e6
"""Of :data:`YARDSTICK`: nothing that runs one image at a time is outside, so constants that say so are not in ms."""

YARDSTICK = {
    "macs_conv": 10_838_016, "macs_pointwise": 267_939_840, "macs_depthwise": 20_716_416, "macs_linear": 1_280_000,
    "ops_conv": 1, "ops_pointwise": 34, "ops_depthwise": 17, "ops_linear": 1, "ops_elementwise": 10, "ops_pool": 1,
    "moved_conv": 551_936, "moved_pointwise": 6_849_024, "moved_depthwise": 6_043_072, "moved_linear": 2_280,
    "moved_elementwise": 649_152, "moved_pool": 64_000, "stem": 10_838_016, "unfolded": 338_688, "weights": 3_469_760,
}  # fmt: skip
"""Features of MobileNetV2 1.0 at 224 px; the rest does not enter a latency."""


def contradictions(precision: str, table: Latency) -> list[str]:
    """What is wrong with sound entries of the table of one precision that don't fit together."""
    place = f"latency.{precision}"
    wrong = [] if table.operators is None else _operator_contradictions(f"{place}.operators", table.operators)
    if not any(getattr(table, name) for name in COEFFICIENTS):
        return [*wrong, f"{place}: every constant is 0, so every latency would be"]
    row = np.zeros((1, len(FEATURES)))
    row[0, [COLUMN[name] for name in YARDSTICK]] = list(YARDSTICK.values())
    model = AdditiveLatency({precision: table.coefficients})
    ms = float(model.predict(row, precision)[0]) if precision in PRECISIONS else SHORTEST_MS
    if not SHORTEST_MS <= ms <= LONGEST_MS:
        wrong.append(
            f"{place}: by these constants a MobileNetV2 at 224 px takes {ms:.3g} ms, outside {SHORTEST_MS:g} to "
            f"{LONGEST_MS:g}; give ms for a million MACs, 1e6 bytes, an operator or a network"
        )
    return wrong


def _operator_contradictions(place: str, table: OperatorTable) -> list[str]:
    known = ", ".join(SUMS)
    wrong = [f"{place}.features: '{n}' is unknown; features are {known}" for n in table.features if n not in SUMS]
    if not table.features or not table.rows:
        wrong.append(f"{place}: give one or more features and rows")
    width, rows = len(table.features), enumerate(table.rows)
    wrong += [f"{place}.rows[{i}] has {len(row)} numbers, not {width}" for i, row in rows if len(row) != width]
    if len(table.ms) != len(table.rows):
        wrong.append(f"{place}.ms has {len(table.ms)} numbers, not {len(table.rows)}, one per row")
    return wrong


def read_latency(tables: Mapping[str, Latency]) -> LatencyModel:
    """The model of checked tables, by precision."""
    base = AdditiveLatency({precision: table.coefficients for precision, table in tables.items()})
    measured = {p: _floats(table.operators) for p, table in tables.items() if table.operators is not None}
    return TableLatency(base, measured) if measured else base


def _floats(table: OperatorTable) -> OperatorTable:
    """The table with whole numbers as floats."""
    rows = tuple(tuple(map(float, row)) for row in table.rows)
    return OperatorTable(table.features, rows, tuple(map(float, table.ms)), float(table.width), float(table.noise))


def latency_lines(model: LatencyModel, precision: str) -> list[str]:
    """The table of one precision without label and source; numbers keep six digits."""
    measured = model.tables if isinstance(model, TableLatency) else {}
    base = model.base if isinstance(model, TableLatency) else model
    if not isinstance(base, AdditiveLatency):
        raise TypeError(f"no form in a target file for {type(base).__name__}")
    lines = [f"{key} = {_number(value)}" for key, value in asdict(base.of(precision)).items()]
    if precision in measured:
        lines += ["", f"[latency.{precision}.operators]", *map(_line, asdict(measured[precision]).items())]
    return lines


def measured_lines(measured: MeasuredRange) -> list[str]:
    """The table of the networks that constants were fitted to."""
    return list(map(_line, asdict(measured).items()))


def _line(entry: tuple[str, Any]) -> str:
    key, value = entry
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return "\n".join([f"{key} = [", *(f"    {_value(row)}," for row in value), "]"])
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return repr(float(f"{value:.6g}"))
