"""What a target's file may hold, for ``search_spaces.schema``. Needs the standard library alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from predictors.costs.memory import DEFAULT_RULES, RULES
from predictors.latency.measured import MeasuredRange
from predictors.latency.records import COEFFICIENTS, Coefficients, OperatorTable
from search_spaces.policy import INT8, PRECISIONS, WEIGHT_BITS
from search_spaces.schema import Check, Range

LABEL = re.compile(r"measured|uncalibrated|calibrated \(.+\)")

_RULES = ", ".join(RULES)
_BITS = tuple(bits for bits in WEIGHT_BITS.values() if bits <= 8)


def _label_problem(label: str) -> str:
    return "" if LABEL.fullmatch(label) else f"'{label}' is not 'measured', 'uncalibrated' or 'calibrated (...)'"


def _bits_problem(bits: tuple[int, ...]) -> str:
    sound = 8 in bits and set(bits) <= set(_BITS)
    return "" if sound else f"give a list of {', '.join(map(str, _BITS))}, with 8 among them"


Text = Annotated[str, Check(lambda text: "" if text.strip() else "give a text that isn't empty")]
Rules = Annotated[str, Check(lambda name: "" if name in RULES else f"'{name}' is unknown; rules are {_RULES}")]
Bytes = Annotated[int, Range(above=0)]


@dataclass(frozen=True)
class Memory:
    """The table ``memory``: see :class:`predictors.targets.card.TargetCard`."""

    ram_bytes: Bytes | None = None
    flash_bytes: Bytes | None = None
    rules: Rules = DEFAULT_RULES
    source: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Latency(Coefficients):
    """A table ``latency.<precision>``: constants, how far to trust them, where they come from, a correction of
    single operators, and the networks they were fitted to."""

    label: Annotated[str, Check(_label_problem)]
    source: Text
    operators: OperatorTable | None = None
    measured: MeasuredRange | None = None

    @property
    def coefficients(self) -> Coefficients:
        """The constants alone."""
        return Coefficients(*(float(getattr(self, name)) for name in COEFFICIENTS))


@dataclass(frozen=True)
class TargetFile:
    """A target's file: see :class:`predictors.targets.card.TargetCard`."""

    name: Text
    description: Text
    runtime: Text
    default_precision: Text
    latency: dict[str, Latency]
    model: Text | None = None
    threads: Annotated[int, Range(at_least=1)] | None = None
    memory: Memory = field(default_factory=Memory)
    weight_bits: Annotated[tuple[int, ...], Check(_bits_problem)] = (8,)

    def contradictions(self) -> list[str]:
        """What is wrong with sound entries that don't fit together, beside the constants."""
        default = self.default_precision
        wrong = [f"unknown precision [latency.{name}]" for name in self.latency if name not in PRECISIONS]
        if wrong or not self.latency:
            wrong.append(f"give tables [latency.<precision>]; precisions are {', '.join(PRECISIONS)}")
        if default not in self.latency:
            wrong.append(f"default_precision '{default}' has no table [latency.{default}]")
        if self.weight_bits != (8,) and INT8 not in self.latency:
            wrong.append(f"weight_bits are of quantized weights, and there is no table [latency.{INT8}]")
        return wrong
