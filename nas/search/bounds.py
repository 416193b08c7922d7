"""Upper limits of a search, and how a user writes them: ``100kB``, ``0.1MB``, ``3ms``, ``20M``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from search_spaces.errors import UsageError, unknown_name

from .objectives import LATENCY, LATENCY_ON, OBJECTIVES, Objective, latency_on

_AMOUNT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\W\d_]*)\s*", re.IGNORECASE)
_SIGNIFICANT = 15
"""Digits that a decimal number keeps on its way to binary, through a change of unit, and back."""


@dataclass(frozen=True)
class Bounds:
    """Upper limits of a search: in ms, bytes and MACs; None: none; ``elsewhere``: ms on other devices, by name.

    Raises:
        UsageError: a limit that nothing is within.
    """

    latency_ms: float | None = None
    size_bytes: float | None = None
    macs: float | None = None
    memory_bytes: float | None = None
    elsewhere: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for objective in OBJECTIVES.values():
            _check_limit(objective.bound, self.limit(objective))

    @classmethod
    def parse(cls, elsewhere: Sequence[str] = (), **limits: str | float | None) -> Self:
        """Bounds as a user writes them: ``Bounds.parse(size="100kB", latency=3)``; None: none.

        Args:
            elsewhere: ``DEVICE=limit`` each, the latency on another device.
            limits: by the objective's name; a plain number is in the unit of the tables: ms, kB, millions of MACs.

        Raises:
            UsageError: no such objective, a text that isn't an amount of it, or a limit that nothing is within.
        """
        for name in limits.keys() - OBJECTIVES.keys():
            raise unknown_name("objective", name, OBJECTIVES)
        amounts = {
            OBJECTIVES[name].bound: parse_limit(OBJECTIVES[name], limit)
            for name, limit in limits.items()
            if limit is not None
        }
        return cls(**amounts, elsewhere=_parse_elsewhere(elsewhere))

    def limit(self, objective: Objective) -> float | None:
        """The limit of an objective, in the unit of its column."""
        if objective.device:
            return self.elsewhere.get(objective.device)
        limit: float | None = getattr(self, objective.bound)
        return limit

    def in_words(self) -> str:
        """``size <= 100 kB, latency on cortex-a53 <= 3 ms``; empty where there is none."""
        columns = (*OBJECTIVES.values(), *map(latency_on, self.elsewhere))
        pairs = ((column, self.limit(column)) for column in columns)
        return ", ".join(f"{row.title} <= {amount(row, limit)}" for row, limit in pairs if limit is not None)


def amount(objective: Objective, value: float) -> str:
    """A value of an objective with its unit, as exact as a user gave it: ``100 kB``; :func:`parse_limit` reads it."""
    return f"{value / objective.unit.scale:.{_SIGNIFICANT}g} {objective.unit.name}"


def parse_limit(objective: Objective, limit: str | float) -> float:
    """A limit in the unit of the objective's column. A plain number is in the unit of tables; any of the objective's
    units may follow a number, in capitals or not. Raises UsageError: it isn't such an amount, or nothing is within."""
    name, unit = f"max_{objective.name}", objective.unit
    units = (unit, *unit.others)
    found = _AMOUNT.fullmatch(str(limit))
    scales = {each.name.casefold(): each.scale for each in units}
    scale = None if found is None else scales.get((found[2] or unit.name).casefold())
    if found is None or scale is None:
        others = ", ".join(each.name for each in unit.others)
        raise UsageError(f"`{name}` is {limit}; give a number of {unit.name}, or one with its unit: {others}")
    value = float(found[1]) * scale
    _check_limit(name, value)
    return value


def _check_limit(name: str, limit: float | None) -> None:
    if limit is not None and not 0 < limit < float("inf"):
        rule = "above 0" if not limit > 0 else "a finite number"
        raise UsageError(f"`{name}` is {limit:g}; a limit must be {rule}: give another, or none")


def _parse_elsewhere(given: Sequence[str]) -> dict[str, float]:
    """Limits in ms by device, from ``TARGET=ms`` each. Raises UsageError where one isn't such a pair or not positive,
    or a device is there twice."""
    limits: dict[str, float] = {}
    for text in given:
        name, sign, limit = text.rpartition("=")
        try:
            value = parse_limit(LATENCY, limit)
        except UsageError:
            value = 0.0
        if not (sign and name and value):
            raise UsageError(f"`max_latency_on` is {text}; give TARGET=ms, such as cortex-a53=20")
        if name in limits:
            raise UsageError(f"`max_latency_on` bounds {name} twice; give one limit")
        limits[name] = value
    return limits


def other_targets(objectives: Sequence[str], bounds: Bounds) -> tuple[str, ...]:
    """Devices besides the search's own that objectives or bounds name, each once, in the order of the columns."""
    named = [name.removeprefix(LATENCY_ON) for name in objectives if name.startswith(LATENCY_ON)]
    return tuple(dict.fromkeys([*named, *bounds.elsewhere]))
