"""NSGA-II (Deb et al., 2002; pymoo's) on the same problem, for comparison: uniform crossover, mutation by resetting
genes, duplicates by hashed rows; everything that it scores goes to the archive."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.optimize import minimize

from search_spaces.genes import Floats, GeneSpace, Vectors

from .archive import Archive

POPULATION = 100


def run_nsga2(
    space: GeneSpace, archive: Archive, seeds: Vectors, seed: int, evaluations: int, population: int = POPULATION
) -> None:
    """Run NSGA-II for a number of evaluations; what it finds is in the archive."""
    objectives = archive.score(space.extremes()[:1])[0].shape[1]
    algorithm = NSGA2(
        pop_size=population, sampling=_Seeded(space, seeds), crossover=UniformCrossover(prob=0.9),
        mutation=_Reset(space), eliminate_duplicates=_SameRow(),
    )  # fmt: skip
    minimize(_Predicted(space, archive, objectives), algorithm, ("n_eval", evaluations), seed=seed)


class _Predicted(Problem):
    def __init__(self, space: GeneSpace, archive: Archive, objectives: int) -> None:
        self.space, self.archive = space, archive
        top = space.cardinality - 1
        super().__init__(n_var=len(top), n_obj=objectives, n_ieq_constr=1, xl=0, xu=top, vtype=int)

    def _evaluate(self, x: Any, out: dict[str, Floats], *_args: Any, **_kwargs: Any) -> None:
        objectives, violation = self.archive.score(self.space.canonical(x.astype(np.int64)))
        out["F"], out["G"] = objectives, violation[:, None]


class _Seeded(Sampling):
    def __init__(self, space: GeneSpace, seeds: Vectors) -> None:
        super().__init__()
        self.space, self.seeds = space, seeds

    def _do(self, _problem: Any, n_samples: int, *_args: Any, random_state: Any = None, **_kwargs: Any) -> Vectors:
        return np.concatenate([self.seeds, self.space.sample(random_state, n_samples)])[:n_samples]


class _Reset(Mutation):
    def __init__(self, space: GeneSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, _problem: Any, x: Any, *_args: Any, random_state: Any = None, **_kwargs: Any) -> Vectors:
        return self.space.mutate(random_state, x.astype(np.int64), rate=1.5 / len(self.space.genes))


class _SameRow(DuplicateElimination):
    """Duplicates by hashed rows: linear where pymoo's default compares all pairs."""

    def _do(self, pop: Population, other: Population | None, is_duplicate: Any) -> Any:
        seen = {row.tobytes() for row in other.get("X").astype(np.int64)} if other is not None else set()
        for i, row in enumerate(pop.get("X").astype(np.int64)):
            key = row.tobytes()
            is_duplicate[i] = is_duplicate[i] or key in seen
            seen.add(key)
        return is_duplicate
