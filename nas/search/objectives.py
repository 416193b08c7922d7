"""What is exactly known of every candidate: latency on one or several devices, size, MACs, peak memory; which of them
are objectives; and bounds on them, the user's and the device's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.candidates.candidate import CandidateSpace
from predictors.costs.network import COLUMN, FEATURES, Costs, CostTables, total_macs
from predictors.policy_costs import PolicyCosts
from predictors.targets.target import Target
from search_spaces.errors import InfeasibleError, UsageError, unknown_name
from search_spaces.policy import parse_menu
from search_spaces.space import SearchSpace, Vectors

Floats = NDArray[np.float64]

_MACS = total_macs(np.eye(len(FEATURES)))
"""Weights of cost features that sum up to MACs."""

DEFAULT = "accuracy,latency,size"
LATENCY_ON = "latency:"
"""Prefix of the objective that is the latency on another device."""


@dataclass(frozen=True)
class Bounds:
    """Upper limits of a search, each above 0; None: none.

    Attributes:
        latency_ms, size_bytes, macs, memory_bytes: of the columns of :meth:`CandidateCosts.of`.
        elsewhere: latency in ms on other devices, by name.

    Raises:
        UsageError: a limit that nothing is within.
    """

    latency_ms: float | None = None
    size_bytes: float | None = None
    macs: float | None = None
    memory_bytes: float | None = None
    elsewhere: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("latency_ms", "size_bytes", "macs", "memory_bytes"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise UsageError(f"--max-{name.partition('_')[0]} {limit:g}: a limit is above 0; give more, or none")


@dataclass(frozen=True)
class Cost:
    """A column of :meth:`CandidateCosts.of`.

    Attributes:
        name: as an objective.
        title, unit, scale: for a person; a value divided by ``scale`` is in ``unit``, which bounds are given in.
    """

    name: str
    title: str
    unit: str
    scale: float = 1.0


_OWN = (
    Cost("latency", "latency", "ms"),
    Cost("size", "size", "MB", 1e6),
    Cost("macs", "MACs", "M", 1e6),
    Cost("memory", "peak activations", "kB", 1e3),
)
_MEMORIES = {1: "flash", 3: "RAM"}
"""Memory of a device that limits a column."""


def parse_objectives(text: str) -> tuple[str, ...]:
    """Names of the costs to minimise beside the error, of ``accuracy,latency,size`` and the like.

    Raises:
        UsageError: an unknown or repeated objective, no accuracy among them, or not two to four of them.
    """
    names = [name.strip() for name in text.split(",")]
    known = ("accuracy", *(c.name for c in _OWN), f"{LATENCY_ON}TARGET")
    for name in names:
        if name not in known[:-1] and not (name.startswith(LATENCY_ON) and name != LATENCY_ON):
            raise unknown_name("objective", name, known)
    if len(set(names)) < len(names):
        raise UsageError(f"--objectives {text} names one of them twice; give each once")
    if "accuracy" not in names:
        raise UsageError(f"--objectives {text} leaves out accuracy, which is what a search measures; add it")
    if not 2 <= len(names) <= 4:
        raise UsageError(f"--objectives {text} is a list of {len(names)}; give two to four, accuracy among them")
    return tuple(name for name in names if name != "accuracy")


def parse_bounds_elsewhere(given: Sequence[str]) -> dict[str, float]:
    """Limits in ms by device out of ``TARGET=ms`` each.

    Raises:
        UsageError: no such pair, no positive number, or a device twice.
    """
    found: dict[str, float] = {}
    for text in given:
        name, sign, limit = text.rpartition("=")
        try:
            value = float(limit)
        except ValueError:
            value = 0.0
        if not (sign and name and 0 < value < np.inf):
            raise UsageError(f"--max-latency-on {text}: give TARGET=ms, such as cortex-a53=20")
        if name in found:
            raise UsageError(f"--max-latency-on bounds {name} twice; give one limit")
        found[name] = value
    return found


def other_targets(objectives: str, bounds: Bounds) -> tuple[str, ...]:
    """Devices besides the search's own that objectives or bounds speak of, each once, in the order of the columns."""
    named = [n.removeprefix(LATENCY_ON) for n in parse_objectives(objectives) if n.startswith(LATENCY_ON)]
    return tuple(dict.fromkeys([*named, *bounds.elsewhere]))


def misfits(target: Target, size: float, peak: float) -> list[str]:
    """What of a network exceeds the device's memory, in words; empty where it fits.

    Args:
        size, peak: bytes of weights, and of activations at the worst moment.
    """
    pairs = (("weights", size, target.flash_bytes, "flash"), ("activations", peak, target.ram_bytes, "RAM"))
    return [
        f"{amount / 1e3:,.0f} kB of {what} exceed the {limit / 1e3:,.0f} kB of {memory} that {target.name} has for them"
        for what, amount, limit, memory in pairs
        if limit is not None and amount > limit
    ]


@dataclass(frozen=True)
class CandidateCosts:
    """Costs of candidates on a target, for populations and for one.

    Attributes:
        architectures: the space of their architectures.
        tables: of that space.
        precision: what their policies are made of, ``int8`` or ``int8,w4a8``, as in ``policy.parse_menu``.
        others: further devices, whose latency counts too.
    """

    architectures: SearchSpace
    tables: CostTables
    target: Target
    precision: str
    others: tuple[Target, ...] = ()

    @cached_property
    def candidates(self) -> CandidateSpace:
        """All candidates, and which vectors stand for them."""
        return CandidateSpace(self.architectures, parse_menu(self.precision))

    @property
    def space(self) -> SearchSpace:
        """Of the candidates' vectors: genes of architectures, and of policies where there is a choice."""
        return self.candidates.space

    @cached_property
    def _policies(self) -> PolicyCosts:
        return PolicyCosts(self.tables, self.candidates.menu)

    @cached_property
    def columns(self) -> tuple[Cost, ...]:
        """What :meth:`of` returns."""
        elsewhere = (Cost(LATENCY_ON + t.name, f"latency on {t.name}", "ms") for t in self.others)
        return (*_OWN, *elsewhere)

    def indices(self, objectives: str) -> list[int]:
        """Columns of the costs among these objectives, as in :func:`parse_objectives`."""
        names = [c.name for c in self.columns]
        return [names.index(name) for name in parse_objectives(objectives)]

    def of(self, vectors: Vectors) -> Floats:
        """Costs of vectors ``[n, genes]``: latency in ms, size in bytes, MACs, peak activations in bytes, and the
        latency in ms on every other device: ``[n, 4 + others]``."""
        policies, parts = self._policies, self.candidates.parts(vectors)
        own, *elsewhere = (policies.latency_ms(t, vectors, parts) for t in (self.target, *self.others))
        macs = self.tables.additive(_MACS, vectors)
        sizes = policies.size_bytes(vectors, parts)
        peak = policies.peak_bytes(vectors, parts, self.target.memory_rules)
        return np.stack([own, sizes, macs, peak, *elsewhere], axis=1)

    def exact(self, vector: Vectors) -> Costs:
        """All costs of one vector ``[genes]``."""
        _, size, macs, peak = self.of(vector[None])[0][:4]
        return Costs(int(macs), int(self.tables.features(vector[None])[0, COLUMN["params"]]), int(size), int(peak))

    def asked(self, bounds: Bounds) -> Floats:
        """The user's limits of the columns, infinite where there is none."""
        limits = [bounds.latency_ms, bounds.size_bytes, bounds.macs, bounds.memory_bytes]
        limits += [bounds.elsewhere.get(target.name) for target in self.others]
        return np.array([np.inf if limit is None else limit for limit in limits])

    def limits(self, bounds: Bounds) -> Floats:
        """Upper limits of the columns: the user's, and what fits in the flash and the RAM of every device."""
        found = self.asked(bounds)
        for device in (self.target, *self.others):
            for column, limit in ((1, device.flash_bytes), (3, device.ram_bytes)):
                found[column] = min(found[column], np.inf if limit is None else limit)
        return found

    def violation(self, costs: Floats, bounds: Bounds) -> Floats:
        """Sum of relative excesses of rows of costs; 0 where all bounds hold, the device's too."""
        excess: Floats = np.maximum(costs / self.limits(bounds) - 1.0, 0.0).sum(axis=1)
        return excess

    def feasible_start(self, bounds: Bounds) -> Vectors:
        """A vector within the bounds, close to the smallest network.

        Raises:
            InfeasibleError: none was found; the message names the smallest reachable values.
        """
        start = self._descend(lambda v: self.violation(self.of(v), bounds) + 1e-9 * self.of(v)[:, 0])
        found = self.of(start[None])
        if self.violation(found, bounds)[0] <= 0:
            return start
        missed = []
        for column, cost in enumerate(self.columns):
            bound, scale, unit = self.limits(bounds)[column], cost.scale, cost.unit
            least = self._least(column)
            if np.isfinite(bound):
                verdict = "not reachable" if least > bound else "reachable alone"
                whose = f" ({_MEMORIES[column]})" if bound < self.asked(bounds)[column] else ""
                missed.append(
                    f"{cost.title} <= {bound / scale:.12g} {unit}{whose} is {verdict}: "
                    f"the smallest is {least / scale:.4g} {unit}"
                )
        raise InfeasibleError(
            f"no candidate of {self.architectures.name} ({self.precision}) is within the bounds on {self.target.name}: "
            + "; ".join(missed)
        )

    def _least(self, column: int) -> float:
        """Smallest reachable value of one cost."""
        return float(self.of(self._descend(lambda v: self.of(v)[:, column])[None])[0, column])

    def _descend(self, value: Callable[[Vectors], Floats]) -> Vectors:
        """Best single-gene moves from the smallest network until none lowers ``value``."""
        here: Vectors = self.candidates.start
        moves = [(g, c) for g in range(len(self.space.genes)) for c in range(self.space.cardinality[g])]
        least = float(value(here[None])[0])
        while True:
            others = np.repeat(here[None], len(moves), axis=0)
            others[np.arange(len(moves)), [g for g, _ in moves]] = [c for _, c in moves]
            others = self.space.canonical(others)
            values = value(others)
            best = int(values.argmin())
            if not values[best] < least - 1e-9 * abs(least):  # equal but for rounding is no progress
                return here
            here, least = others[best], float(values[best])

    def sample(self, rng: np.random.Generator, bounds: Bounds, n: int) -> Vectors:
        """Up to ``n`` distinct feasible vectors, uniformly drawn; where few random ones are feasible, the rest comes
        from mutating feasible ones. Ends after a fixed number of tries."""
        found: dict[bytes, Vectors] = {}
        for attempt in range(100):
            if attempt < 50 or not found:
                vectors = self.space.sample(rng, 2048)
            else:
                parents = np.stack(list(found.values()))
                vectors = self.space.mutate(rng, parents[rng.integers(len(parents), size=2048)], 0.2)
            if attempt == 49:
                vectors = np.concatenate([vectors, self.feasible_start(bounds)[None]])
            keep = self.violation(self.of(vectors), bounds) <= 0
            for row in vectors[keep]:
                found.setdefault(row.tobytes(), row)
                if len(found) == n:
                    return np.stack(list(found.values()))
        return np.stack(list(found.values())) if found else np.zeros((0, len(self.space.genes)), dtype=np.int64)
