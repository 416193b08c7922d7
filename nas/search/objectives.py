"""What a search minimises beside the error, and bounds: one row of :data:`OBJECTIVES` each.

To add one: a row here, its limit in :class:`nas.search.bounds.Bounds`, and its figure in ``predictors.policy_costs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from nas.store.results import Member
    from predictors.policy_costs import PolicyCosts
    from predictors.targets.target import Target
    from search_spaces.genes import Floats, Vectors

    Column = Callable[[PolicyCosts, Target, Vectors, Vectors], Floats]
    """Costs ``[n]`` on a target of vectors ``[n, genes]`` with policies ``[n, 1 + stages]`` (see ``PolicyCosts``)."""

DEFAULT = "accuracy,latency,size"
LATENCY_ON = "latency:"
"""Prefix of the objective that is the latency on another device."""


@dataclass(frozen=True)
class Unit:
    """A unit of a cost: ``scale`` of the cost's own (ms, bytes, MACs) are one. ``others``: what limits may have too."""

    name: str
    scale: float = 1.0
    others: tuple[Unit, ...] = ()


@dataclass(frozen=True)
class Memory:
    """A memory of a device that limits a cost: what of a network lies in it, and the bytes that a target has of it;
    None: not known."""

    name: str
    content: str
    limit: Callable[[Target], int | None]


@dataclass(frozen=True)
class Objective:
    """A cost that a search may minimise beside the error, and bound.

    Attributes:
        name: in the text of objectives; for a latency on another device ``latency:DEVICE``.
        key: name of its figure in a member of a front.
        title, header, axis: name in a sentence, at the head of a table's column (with the unit), on an axis (without).
        unit, decimals: of tables, plots, limits and messages.
        bound, bound_help: its limit in :class:`nas.search.bounds.Bounds`, and what that limits, in words for help.
        device: the other device whose latency it is; empty: a cost on the search's own target.
    """

    name: str
    key: str
    column: Column
    title: str
    header: str
    axis: str
    unit: Unit
    decimals: int
    bound: str
    bound_help: str
    memory: Memory | None = None
    device: str = ""

    def of(self, member: Member) -> float:
        """The cost of a member of a front. Raises KeyError where its latency on the other device is not known."""
        if self.device:
            return (member.latency_elsewhere_ms or {})[self.device]
        figure: float = getattr(member, self.key)
        return figure

    def text(self, value: float) -> str:
        """A value in the objective's unit, with its decimals but without the unit's name."""
        return f"{value / self.unit.scale:.{self.decimals}f}"

    def cell(self, member: Member) -> str:
        """The cost of a member of a front for a table; with ``~`` before a latency on the search's own target, where
        the network is unlike those that were measured there."""
        unlike = self.name == "latency" and member.latency_outside
        return ("~" if unlike else "") + self.text(self.of(member))


_MS = Unit("ms", others=(Unit("s", 1e3), Unit("us", 1e-3), Unit("µs", 1e-3)))
_BINARY = (Unit("KiB", 2**10), Unit("MiB", 2**20), Unit("GiB", 2**30))
_KB = Unit("kB", 1e3, (Unit("B"), Unit("MB", 1e6), Unit("GB", 1e9), *_BINARY))
_MILLIONS = Unit("M", 1e6, (Unit("k", 1e3), Unit("G", 1e9), Unit("MACs"), Unit("MMACs", 1e6), Unit("GMACs", 1e9)))

LATENCY = Objective(
    "latency", "latency_ms", lambda costs, target, vectors, parts: costs.latency_ms(target, vectors, parts),
    "latency", "ms", "latency", _MS, 3, "latency_ms", "Highest latency, in ms.",
)  # fmt: skip
SIZE = Objective(
    "size", "size_bytes", lambda costs, _, vectors, parts: costs.size_bytes(vectors, parts),
    "size", "kB", "size of the weights", _KB, 1, "size_bytes",
    "Largest size of the weights, in kB; or with a unit: 0.1MB.",
    Memory("flash", "weights", lambda target: target.flash_bytes),
)  # fmt: skip
MACS = Objective(
    "macs", "macs", lambda costs, _, vectors, parts: costs.macs(vectors),
    "MACs", "MMACs", "multiply-accumulates", _MILLIONS, 2, "macs", "Most multiply-accumulates, in millions.",
)  # fmt: skip
MEMORY = Objective(
    "memory", "peak_activation_bytes",
    lambda costs, target, vectors, parts: costs.peak_bytes(vectors, parts, target.memory_rules),
    "peak activations", "peak kB", "peak activations", _KB, 1, "memory_bytes",
    "Most memory for activations at the worst moment, in kB.",
    Memory("RAM", "activations", lambda target: target.ram_bytes),
)  # fmt: skip

OBJECTIVES: Mapping[str, Objective] = {row.name: row for row in (LATENCY, SIZE, MACS, MEMORY)}
"""All objectives by name; :func:`find_objective` knows those on other devices too."""


def latency_on(device: str) -> Objective:
    """The objective that is the latency on another device."""
    title = f"latency on {device}"
    return replace(
        LATENCY, name=LATENCY_ON + device, key="latency_elsewhere_ms", title=title, axis=title,
        header=f"ms {device}", device=device,
    )  # fmt: skip


def find_objective(name: str) -> Objective:
    """The objective of a name, ``latency:DEVICE`` included. Raises UsageError where there is none."""
    device = name.removeprefix(LATENCY_ON)
    if device and device != name:
        return latency_on(device)
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, ("accuracy", *OBJECTIVES, f"{LATENCY_ON}TARGET"))
    return OBJECTIVES[name]


def with_unit(name: str, value: float) -> str:
    """A value after the name of its objective: ``size 24.3 kB``, ``latency:cortex-a53 1.2 ms``, ``error 0.1``."""
    row = OBJECTIVES.get(name.partition(":")[0])
    return f"{name} {value / row.unit.scale:.4g} {row.unit.name}" if row else f"{name} {value:.4g}"


def misfits(target: Target, costs: Mapping[str, float]) -> list[str]:
    """What of a network exceeds the device's memory, in words; empty where it fits. ``costs`` are those that a memory
    limits, by the objective's name."""
    pairs = [(row.memory, costs[row.name], row.memory.limit(target)) for row in OBJECTIVES.values() if row.memory]
    return [
        f"{amount / 1e3:,.0f} kB of {memory.content} exceed the {limit / 1e3:,.0f} kB of {memory.name} that "
        f"{target.name} has for them"
        for memory, amount, limit in pairs
        if limit is not None and amount > limit
    ]


def parse_objectives(text: str) -> tuple[str, ...]:
    """Names of the costs to minimise beside the error, of ``accuracy,latency,size`` and the like. Raises UsageError
    where one is unknown or repeated, accuracy isn't among them, or they aren't two to four."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name != "accuracy":
            find_objective(name)
    if len(set(names)) < len(names):
        raise UsageError(f"`objectives` is {text}, which names one of them twice; give each once")
    if "accuracy" not in names:
        raise UsageError(f"`objectives` is {text}, without accuracy, which is what a search measures; add it")
    if not 2 <= len(names) <= 4:
        raise UsageError(f"`objectives` is {text}, a list of {len(names)}; give two to four, accuracy among them")
    return tuple(name for name in names if name != "accuracy")
