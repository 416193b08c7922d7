"""What a target's file says of a device beside its latencies. Needs no numpy, to be listed quickly."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

from predictors.latency.measured import Extent, MeasuredRange, outside
from search_spaces.errors import unknown_name
from search_spaces.policy import INT8, MIXED, PRECISIONS, WEIGHT_BITS, Policy, parse_menu, parse_policy
from search_spaces.schema import convert

from .record import TargetFile

FOLDER = Path(__file__).parent
TEXTS = ("name", "description", "runtime", "default_precision")
MEMORY = ("ram_bytes", "flash_bytes")


@dataclass(frozen=True)
class TargetCard:
    """A device and the runtime on it: all that a target's file says except how long anything takes.

    Attributes:
        runtime: name, version and threads of the runtime that the latencies hold for.
        default_precision: precision of a search that names none.
        labels: by precision, how far to trust its latencies: ``measured``, ``calibrated (MAPE x %, tau y, n networks)``
            or ``uncalibrated``.
        sources: by precision, where its constants come from.
        ram_bytes, flash_bytes: limits on peak activation memory and on weights; None: none.
        memory_rules: one of ``memory.RULES``; ``memory_source`` says where the limits come from.
        model: form to export, as ``nas.runtimes`` names it (``onnx-uint8``); None: the default one.
        measured: by precision, the networks that its constants were fitted to; those of no precision, if not known.
        weight_bits: bits of quantized weights that its files can hold. Fewer than 8 run as int8 does, unless the target
            has constants for them: a gain in storage alone.
    """

    name: str
    description: str
    runtime: str
    default_precision: str
    labels: Mapping[str, str] = field(hash=False)
    sources: Mapping[str, str] = field(hash=False)
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    model: str | None = None
    threads: int | None = None
    memory_rules: str = "in-place"
    memory_source: str | None = None
    weight_bits: tuple[int, ...] = (8,)
    measured: Mapping[str, MeasuredRange] = field(default_factory=dict, hash=False)

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the target runs."""
        known = self.labels
        stored = {p for p, bits in WEIGHT_BITS.items() if bits in self.weight_bits and INT8 in known}
        return tuple(p for p in PRECISIONS if p in stored or p in known)

    def runs_as(self, precision: str) -> str:
        """The precision whose latencies hold for another: int8's for those that only store weights in fewer bits."""
        return precision if precision in self.labels else INT8

    @property
    def memory(self) -> dict[str, int | str]:
        """The limits and ``memory_rules``, for results; empty where there are no limits."""
        known = {key: value for key in MEMORY if (value := getattr(self, key)) is not None}
        return known | {"memory_rules": self.memory_rules} if known else {}

    def precision(self, name: str | None = None) -> str:
        """``name``, or the default where it is None. Raises UsageError where the target does not run that precision."""
        if name is not None and name not in self.precisions:
            raise unknown_name("precision", name, self.precisions, f"of target '{self.name}'")
        return name or self.default_precision

    def menu(self, text: str | None = None) -> tuple[str, ...]:
        """Precisions that a search may mix, of ``int8,w4a8``; ``mixed`` is all there are, None the default alone.
        Raises UsageError where it isn't such a list, or the target does not run one of them."""
        if text == MIXED:
            return self.precisions
        menu = parse_menu(text or self.default_precision)
        for name in menu:
            self.precision(name)
        return menu

    def policy(self, text: str) -> Policy:
        """A precision policy. Raises UsageError where it isn't one, or the target does not run one of its
        precisions."""
        policy = parse_policy(text)
        for name in policy.precisions:
            self.precision(name)
        return policy

    def label(self, precision: str | None = None) -> str:
        """How far to trust latencies at a precision (default: the target's)."""
        return self.labels[self.runs_as(self.precision(precision))]

    def labels_of(self, precisions: Sequence[str]) -> str:
        """How far to trust latencies of networks with several precisions; each with its name where they differ."""
        return self._join(precisions, self.label)

    def left_out(self, precisions: Sequence[str], network: Extent) -> tuple[str, ...]:
        """What was measured, in words, where a network of these precisions lies outside of it; empty: it lies inside,
        or nothing is known of what was measured."""
        ranges = [self.measured[name] for name in map(self.runs_as, precisions) if name in self.measured]
        return reduce(MeasuredRange.joined, ranges).left_out(network) if ranges else ()

    def label_for(self, precisions: Sequence[str], network: Extent) -> str:
        """How far to trust the latency of one network: that of the target, or why it doesn't hold for this one."""
        reasons = self.left_out(precisions, network)
        return outside(reasons) if reasons else self.labels_of(precisions)

    def label_of_all(self, precisions: Sequence[str], networks: Sequence[Extent]) -> str:
        """How far to trust the latencies of several networks."""
        label, apart = self.labels_of(precisions), [self.left_out(precisions, network) for network in networks]
        reasons = tuple(dict.fromkeys(words for each in apart for words in each))
        if not reasons:
            return label
        if all(apart):
            return outside(reasons)
        count = sum(map(bool, apart))
        verb = "is" if count == 1 else "are"
        return f"{label}; {count} of {len(apart)} networks {verb} outside what was measured ({', '.join(reasons)})"

    def sources_of(self, precisions: Sequence[str]) -> str:
        """Where the constants of several precisions come from, likewise."""
        return self._join(precisions, self.source)

    def _join(self, precisions: Sequence[str], what: Callable[[str], str]) -> str:
        texts_of = {self.runs_as(name): what(name) for name in precisions}
        texts = list(dict.fromkeys(texts_of.values()))
        return texts[0] if len(texts) == 1 else "; ".join(f"{name}: {text}" for name, text in texts_of.items())

    def source(self, precision: str | None = None) -> str:
        """Where the constants of a precision come from (default: the target's)."""
        return self.sources[self.runs_as(self.precision(precision))]


def available_targets() -> list[str]:
    """Names of the shipped targets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def shipped_card(name: str) -> TargetCard:
    """The card of a shipped target."""
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return make_card(convert(content, TargetFile, name))


def make_card(file: TargetFile) -> TargetCard:
    """What a file says beside how long anything takes."""
    memory, tables = file.memory, file.latency
    return TargetCard(
        **{key: getattr(file, key) for key in (*TEXTS, "model", "threads", "weight_bits")},
        labels={precision: table.label for precision, table in tables.items()},
        sources={precision: table.source for precision, table in tables.items()},
        ram_bytes=memory.ram_bytes,
        flash_bytes=memory.flash_bytes,
        memory_rules=memory.rules,
        memory_source=memory.source,
        measured={precision: table.measured for precision, table in tables.items() if table.measured is not None},
    )
