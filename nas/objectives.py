"""What is exactly known of every candidate: latency model, size, MACs; and bounds on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.costs import Costs, CostTables, costs_of, size_bytes, total_macs
from predictors.target import Target
from search_spaces.errors import InfeasibleError
from search_spaces.space import SearchSpace, Vectors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Upper limits of a search; None: none."""

    latency_ms: float | None = None
    size_bytes: float | None = None
    macs: float | None = None

    def as_row(self) -> Floats:
        """Limits in the order of :attr:`CandidateCosts.COLUMNS`, infinite where there is none."""
        return np.array([np.inf if b is None else b for b in (self.latency_ms, self.size_bytes, self.macs)])


@dataclass(frozen=True)
class CandidateCosts:
    """Costs of candidates on one target at one precision, for populations and for one."""

    space: SearchSpace
    tables: CostTables
    target: Target
    precision: str

    COLUMNS = (("latency", "ms", 1.0), ("size", "MB", 1e6), ("MACs", "M", 1e6))

    def of(self, vectors: Vectors) -> Floats:
        """Latency in ms, size in bytes and MACs of vectors ``[n, genes]``; shape ``[n, 3]``."""
        features = self.tables.features(vectors)
        latency = self.target.latency.predict(features, self.precision)
        return np.stack([latency, size_bytes(features, self.precision), total_macs(features)], axis=1)

    def exact(self, vector: Vectors) -> Costs:
        """All costs of one vector ``[genes]``."""
        return costs_of(self.tables.features(vector[None])[0], self.precision)

    def violation(self, costs: Floats, bounds: Bounds) -> Floats:
        """Sum of relative excesses of rows ``[n, 3]``; 0 where all bounds hold."""
        excess: Floats = np.maximum(costs / bounds.as_row() - 1.0, 0.0).sum(axis=1)
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
        for column, (name, unit, scale) in enumerate(self.COLUMNS):
            bound = bounds.as_row()[column]
            least = self._least(column)
            if np.isfinite(bound):
                verdict = "not reachable" if least > bound else "reachable alone"
                missed.append(
                    f"{name} <= {bound / scale:.4g} {unit} is {verdict}: the smallest is {least / scale:.4g} {unit}"
                )
        raise InfeasibleError(
            f"no candidate of {self.space.name} ({self.precision}) is within the bounds on {self.target.name}: "
            + "; ".join(missed)
        )

    def _least(self, column: int) -> float:
        """Smallest reachable value of one cost."""
        return float(self.of(self._descend(lambda v: self.of(v)[:, column])[None])[0, column])

    def _descend(self, value: Callable[[Vectors], Floats]) -> Vectors:
        """Best single-gene moves from the smallest network until none lowers ``value``."""
        here: Vectors = self.space.extremes()[0]
        moves = [(g, c) for g in range(len(self.space.genes)) for c in range(self.space.cardinality[g])]
        least = float(value(here[None])[0])
        while True:
            others = np.repeat(here[None], len(moves), axis=0)
            others[np.arange(len(moves)), [g for g, _ in moves]] = [c for _, c in moves]
            others = self.space.canonical(others)
            values = value(others)
            best = int(values.argmin())
            if values[best] >= least - 1e-9 * abs(least):  # equal but for rounding is no progress
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
