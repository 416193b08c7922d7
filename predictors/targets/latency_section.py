"""The tables ``[latency.<precision>]`` of a target file: what is wrong with them, the model they describe, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from predictors.costs.network import COLUMN, FEATURES, SUMS
from predictors.latency.additive import COEFFICIENTS, AdditiveLatency, Coefficients, LatencyModel
from predictors.latency.operator_table import OperatorTable, TableLatency
from search_spaces.policy import PRECISIONS

from .checks import amount, is_number, numbers, rows, show, text, unknown

LABEL = re.compile(r"measured|uncalibrated|calibrated \(.+\)")
LABELS = ("measured", "uncalibrated", "calibrated (...)")
SHORTEST_MS, LONGEST_MS = 0.05, 1e6
"""Of :data:`YARDSTICK`: nothing that runs one image at a time is outside, so constants that say so are not in ms."""

YARDSTICK = {
    "macs_conv": 10_838_016, "macs_pointwise": 267_939_840, "macs_depthwise": 20_716_416, "macs_linear": 1_280_000,
    "ops_conv": 1, "ops_pointwise": 34, "ops_depthwise": 17, "ops_linear": 1, "ops_elementwise": 10, "ops_pool": 1,
    "moved_conv": 551_936, "moved_pointwise": 6_849_024, "moved_depthwise": 6_043_072, "moved_linear": 2_280,
    "moved_elementwise": 649_152, "moved_pool": 64_000, "stem": 10_838_016, "unfolded": 338_688, "weights": 3_469_760,
}  # fmt: skip
"""Features of MobileNetV2 1.0 at 224 px; the rest does not enter a latency."""

_OPERATORS = ("features", "rows", "ms", "width", "noise")


def problems_of(place: str, table: dict[str, Any], precision: str) -> list[str]:
    """What is wrong with the table of one precision; ``place`` is its name in messages."""
    prefix = f"{place}."
    problems = unknown(prefix, table, ("label", "source", *COEFFICIENTS, "operators"))
    problems += text(prefix, table, "source")
    if wrong := text(prefix, table, "label"):
        problems += wrong
    elif not LABEL.fullmatch(table["label"]):
        problems.append(f"{prefix}label '{table['label']}' is not {', '.join(map(repr, LABELS[:2]))} or '{LABELS[2]}'")
    constants = [line for key in COEFFICIENTS for line in amount(prefix, table, key)]
    if all(table.get(key) == 0 for key in COEFFICIENTS):
        constants.append(f"{place}: every constant is 0, so every latency would be")
    elif not constants and precision in PRECISIONS:
        constants += _unit_problems(place, table, precision)
    if isinstance(part := table.get("operators"), dict):
        constants += _operator_problems(f"{prefix}operators.", part)
    elif part is not None:
        constants.append(f"{prefix}operators must be a table")
    return problems + constants


def yardstick_ms(coefficients: Coefficients, precision: str) -> float:
    """What constants say of a MobileNetV2 1.0 at 224 px."""
    row = np.zeros((1, len(FEATURES)))
    for name, value in YARDSTICK.items():
        row[0, COLUMN[name]] = value
    return float(AdditiveLatency({precision: coefficients}).predict(row, precision)[0])


def _unit_problems(place: str, table: dict[str, Any], precision: str) -> list[str]:
    ms = yardstick_ms(_coefficients(table), precision)
    if SHORTEST_MS <= ms <= LONGEST_MS:
        return []
    return [
        f"{place}: by these constants a MobileNetV2 at 224 px takes {ms:.3g} ms, outside {SHORTEST_MS:g} to "
        f"{LONGEST_MS:g}; give ms for a million MACs, 1e6 bytes, an operator or a network"
    ]


def _operator_problems(place: str, table: dict[str, Any]) -> list[str]:
    problems = unknown(place, table, _OPERATORS)
    names = table.get("features")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return [*problems, f"{place}features must be a list of names"]
    for name in names:
        if name not in SUMS:
            problems += unknown(f"{place}features ", {name: 0}, SUMS)
    problems += rows(place, table, "rows", len(names))
    if not problems:
        problems += numbers(place, table, "ms", len(table["rows"]))
    if not problems and min(table["ms"]) <= 0:
        problems.append(f"{place}ms: {min(table['ms'])} must be above 0")
    return problems + _above_zero(place, table, ("width", "noise"))


def _above_zero(place: str, table: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    return [
        f"{place}{key} = {show(table[key])} must be a number above 0" if key in table else f"{place}{key} is missing"
        for key in keys
        if not (is_number(table.get(key)) and table[key] > 0)
    ]


def read_latency(tables: Mapping[str, dict[str, Any]]) -> LatencyModel:
    """The model of checked tables, by precision."""
    base = AdditiveLatency({p: _coefficients(table) for p, table in tables.items()})
    measured = {p: _operators(table["operators"]) for p, table in tables.items() if "operators" in table}
    return TableLatency(base, measured) if measured else base


def _coefficients(table: dict[str, Any]) -> Coefficients:
    return Coefficients(*(float(table[name]) for name in COEFFICIENTS))


def _operators(table: dict[str, Any]) -> OperatorTable:
    return OperatorTable(
        tuple(table["features"]),
        tuple(tuple(map(float, row)) for row in table["rows"]),
        tuple(map(float, table["ms"])),
        float(table["width"]),
        float(table["noise"]),
    )


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


def _line(entry: tuple[str, Any]) -> str:
    key, value = entry
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return "\n".join([f"{key} = [", *(f"    {_value(row)}," for row in value), "]"])
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return repr(float(f"{value:.6g}"))
