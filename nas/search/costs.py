"""What is exactly known of every candidate on a target: its costs, and whether they are within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.candidates.candidate import CandidateSpace
from predictors.costs.network import COLUMN, Costs
from predictors.costs.tables import CostTables
from predictors.latency.extent import extents_of
from predictors.latency.measured import Extent
from predictors.policy_costs import PolicyCosts
from predictors.targets.target import Target
from search_spaces.errors import InfeasibleError
from search_spaces.genes import Floats, GeneSpace, Vectors
from search_spaces.policy import parse_menu
from search_spaces.space import SearchSpace

from .bounds import Bounds, amount
from .objectives import LATENCY, LATENCY_ON, MACS, MEMORY, OBJECTIVES, SIZE, Objective, latency_on


@dataclass(frozen=True)
class CandidateCosts:
    """Costs of candidates on a target, for populations and for one; the latency on ``others`` counts too.

    ``precision`` is what their policies are made of, ``int8`` or ``int8,w4a8``, as in ``policy.parse_menu``.
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
    def space(self) -> GeneSpace:
        """Of the candidates' vectors: genes of architectures, and of policies where there is a choice."""
        return self.candidates.space

    @cached_property
    def _policies(self) -> PolicyCosts:
        return PolicyCosts(self.tables, self.candidates.menu)

    @cached_property
    def columns(self) -> tuple[Objective, ...]:
        """What :meth:`of` returns: all objectives, then the latency on every other device."""
        return (*OBJECTIVES.values(), *(latency_on(target.name) for target in self.others))

    def indices(self, objectives: Sequence[str]) -> list[int]:
        """Columns of objectives, by name."""
        names = [column.name for column in self.columns]
        return [names.index(name) for name in objectives]

    def of(self, vectors: Vectors) -> Floats:
        """Costs of vectors ``[n, genes]``, one column each of :attr:`columns`: ``[n, columns]``; latencies in ms,
        size and peak activations in bytes."""
        parts, devices = self.candidates.parts(vectors), {target.name: target for target in self.others}
        costs = [c.column(self._policies, devices.get(c.device, self.target), vectors, parts) for c in self.columns]
        return np.stack(costs, axis=1)

    def column(self, name: str, vectors: Vectors) -> Floats:
        """One of the costs of vectors ``[n, genes]``, by the objective's name: ``[n]``."""
        return self.of(vectors)[:, self.indices([name])[0]]

    def exact(self, vector: Vectors) -> Costs:
        """All costs of one vector ``[genes]`` but its latencies."""
        wanted = self.indices((MACS.name, SIZE.name, MEMORY.name))
        macs, size, memory = (int(cost) for cost in self.of(vector[None])[0, wanted])
        params = int(self.tables.features(vector[None])[0, COLUMN["params"]])
        return Costs(macs, params, size, memory)

    def extents(self, vectors: Vectors) -> dict[str, list[Extent]]:
        """By device, what says of networks ``[n, genes]`` whether they are like those that it was measured with."""
        features = self.tables.features(vectors)
        px = [candidate.architecture.resolution for candidate in self.candidates.candidates(vectors)]
        names = {self.target.name: LATENCY.name} | {t.name: LATENCY_ON + t.name for t in self.others}
        return {name: extents_of(features, self.column(column, vectors), px) for name, column in names.items()}

    def user_limits(self, bounds: Bounds) -> Floats:
        """The user's limits of the columns, infinite where there is none."""
        limits = [bounds.limit(column) for column in self.columns]
        return np.array([np.inf if limit is None else limit for limit in limits])

    def limits(self, bounds: Bounds) -> Floats:
        """Upper limits of the columns: the user's, and what fits in the memories of every device."""
        limits = self.user_limits(bounds)
        for i, column in enumerate(self.columns):
            if column.memory is not None:
                sizes = (column.memory.limit(device) for device in (self.target, *self.others))
                limits[i] = min([limits[i], *(size for size in sizes if size is not None)])
        return limits

    def violation(self, costs: Floats, bounds: Bounds) -> Floats:
        """Sum of relative excesses of rows of costs; 0 where all bounds hold, the device's too."""
        excess: Floats = np.maximum(costs / self.limits(bounds) - 1.0, 0.0).sum(axis=1)
        return excess

    def feasible_start(self, bounds: Bounds) -> Vectors:
        """A vector within the bounds, close to the smallest network. Raises InfeasibleError, which names the smallest
        reachable values, where none was found."""

        def out_of_bounds(vectors: Vectors) -> Floats:
            costs = self.of(vectors)
            return self.violation(costs, bounds) + 1e-9 * costs[:, 0]  # of two that are equally far, the slower one

        start = self._descend(out_of_bounds)
        if self.violation(self.of(start[None]), bounds)[0] <= 0:
            return start
        limits, asked = self.limits(bounds), self.user_limits(bounds)
        missed = []
        for i, column in enumerate(self.columns):
            if np.isfinite(limits[i]):
                least = self._least(i)
                verdict = "not reachable" if least > limits[i] else "reachable alone"
                memory = f" ({column.memory.name})" if column.memory and limits[i] < asked[i] else ""
                missed.append(
                    f"{column.title} <= {amount(column, limits[i])}{memory} is {verdict}: "
                    f"the smallest is {_rounded(column, least)}"
                )
        raise InfeasibleError(
            f"no candidate of {self.architectures.name} ({self.precision}) is within the bounds on {self.target.name}: "
            + "; ".join(missed)
        )

    def idle_bounds(self, bounds: Bounds) -> list[str]:
        """The user's limits that no candidate exceeds, in words: each bounds nothing."""
        limits = self.user_limits(bounds)
        pairs = ((i, column, self._most(i)) for i, column in enumerate(self.columns) if np.isfinite(limits[i]))
        return [
            f"{column.title} <= {amount(column, limits[i])} bounds nothing: the largest network has "
            f"{_rounded(column, most)}"
            for i, column, most in pairs
            if most <= limits[i]
        ]

    def _least(self, column: int) -> float:
        """Smallest reachable value of one cost."""
        return float(self.of(self._descend(lambda v: self.of(v)[:, column])[None])[0, column])

    def _most(self, column: int) -> float:
        """Largest value of one cost."""
        largest = self.space.extremes()[1]
        return float(self.of(self._descend(lambda v: -self.of(v)[:, column], largest)[None])[0, column])

    def _descend(self, value: Callable[[Vectors], Floats], start: Vectors | None = None) -> Vectors:
        """Best single-gene moves from ``start`` until none lowers ``value``; None: from the smallest network."""
        here: Vectors = self.candidates.start if start is None else start
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


def _rounded(column: Objective, value: float) -> str:
    return f"{value / column.unit.scale:.4g} {column.unit.name}"
