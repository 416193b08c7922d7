"""What evolution remembers: every vector it has scored, by hash, and those that no other dominates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import front
from search_spaces.genes import Floats, Vectors

Score = Callable[[Vectors], tuple[Floats, Floats]]

_SLOTS = 1_048_573  # prime


class Archive:
    """Non-dominated vectors among all scored ones.

    Args:
        score: vectors ``[n, genes]`` to objectives ``[n, k]`` (minimised) and violations of constraints ``[n]``
            (0: none). While nothing feasible is known, the vectors of least violation stand in.
        genes: columns of a vector.

    ``vectors`` and ``objectives`` are the front's, best first objective first.
    """

    def __init__(self, score: Score, genes: int) -> None:
        self._score = score
        self.vectors: Vectors = np.zeros((0, genes), dtype=np.int64)
        self.objectives: Floats = np.zeros((0, 0))
        self.scored = 0
        self.feasible = True
        self._least = np.inf
        most = 2**44 // max(genes, 1)  # sums stay below 2**53, exact in floating point, whose products are fast
        self._weights = np.random.default_rng(0).integers(1, most, size=genes).astype(np.float64)
        self._seen = np.zeros(_SLOTS, dtype=np.int64)

    def unseen(self, vectors: Vectors) -> Vectors:
        """Rows not scored before, each once, in order; they count as scored from now on.

        Hashes lie in a table that forgets an older row where two meet: then a vector may be scored again, which costs
        one prediction and nothing else.
        """
        hashes = (vectors.astype(np.float64) @ self._weights).astype(np.int64) + 1  # 0 is an empty slot
        slots = hashes % _SLOTS
        new = self._seen[slots] != hashes
        self._seen[slots] = hashes
        rows = np.flatnonzero(new)
        _, first = np.unique(hashes[rows], return_index=True)
        return vectors[rows[np.sort(first)]]

    def add(self, vectors: Vectors, most: int | None = None) -> None:
        """Score those of canonical vectors that are new, at most ``most`` of them, and keep the best."""
        vectors = self.unseen(vectors)[:most]
        if len(vectors):
            self.score(vectors)

    def score(self, vectors: Vectors) -> tuple[Floats, Floats]:
        """Objectives and violations of canonical vectors, scored before or not; the best are kept."""
        objectives, violation = self._score(vectors)
        self.scored += len(vectors)
        self._keep(vectors, objectives, violation)
        return objectives, violation

    def _keep(self, vectors: Vectors, objectives: Floats, violation: Floats) -> None:
        fine = violation <= 0
        if not fine.any():
            if not (self.feasible and len(self.vectors)):
                self._nearest(vectors, objectives, violation)
            return
        if not self.feasible or not len(self.vectors):
            self.vectors, self.objectives, self.feasible = vectors[:0], objectives[:0], True
        fine[fine] = ~self._beaten(objectives[fine])
        vectors, objectives = vectors[fine], objectives[fine]
        mask = front(np.concatenate([self.objectives, objectives]))
        old, fresh = mask[: len(self.vectors)], mask[len(self.vectors) :]
        joined = np.concatenate([self.objectives[old], objectives[fresh]])
        order = np.argsort(joined[:, 0], kind="stable")
        self.vectors = np.concatenate([self.vectors[old], vectors[fresh]])[order]
        self.objectives = joined[order]

    def _beaten(self, objectives: Floats) -> NDArray[np.bool_]:
        """Which rows the front is at least as good as; for two objectives, where it is a staircase, else none."""
        if objectives.shape[1] != 2 or not len(self.objectives):
            return np.zeros(len(objectives), dtype=bool)
        step = np.searchsorted(self.objectives[:, 0], objectives[:, 0], side="right") - 1
        beaten: NDArray[np.bool_] = (step >= 0) & (self.objectives[step, 1] <= objectives[:, 1])
        return beaten

    def _nearest(self, vectors: Vectors, objectives: Floats, violation: Floats) -> None:
        """Keep the least infeasible vectors, to start from."""
        self.feasible = False
        if violation.min() >= self._least:
            return
        self._least = float(violation.min())
        nearest = np.argsort(violation)[:8]
        self.vectors, self.objectives = vectors[nearest], objectives[nearest]
