"""Evolution on predictions with pymoo, over integer genes.

Crossover is uniform, mutation resets genes to other choices (polynomial mutation and rounding would change next to
nothing on genes with a handful of choices), duplicates are found by canonical form, and everything evaluated goes to
an external archive: the last population alone loses good points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.optimize import minimize

from search_spaces.space import SearchSpace, Vectors

from .pareto import front

Floats = NDArray[np.float64]
Score = Callable[[Vectors], tuple[Floats, Floats]]

_ENUMERATE = 20_000


def evolve(
    space: SearchSpace, score: Score, seeds: Vectors, seed: int, population: int = 100, generations: int = 60
) -> tuple[Vectors, Floats]:
    """Pareto-optimal vectors by predicted objectives among everything evaluated, and their objectives.

    Args:
        score: vectors ``[n, genes]`` to objectives ``[n, k]`` (minimised) and constraint violations ``[n]`` (0: fine).
        seeds: vectors to start from; the rest of the first population is random.
        seed: of the evolution.
    """
    if space.size <= _ENUMERATE:
        vectors = space.encode_many(list(space.enumerate()))
        objectives, violation = score(vectors)
        return _feasible_front(vectors, objectives, violation)
    problem = _Predicted(space, score)
    algorithm = NSGA2(
        pop_size=population,
        sampling=_Seeded(space, seeds),
        crossover=UniformCrossover(prob=0.9),
        mutation=_Reset(space),
        eliminate_duplicates=_SameRow(),
    )
    minimize(problem, algorithm, ("n_gen", generations), seed=seed, verbose=False)
    vectors = np.concatenate(problem.seen)
    _, unique = np.unique(vectors, axis=0, return_index=True)
    objectives, violation = np.concatenate(problem.objectives), np.concatenate(problem.violations)
    return _feasible_front(vectors[unique], objectives[unique], violation[unique])


def _feasible_front(vectors: Vectors, objectives: Floats, violation: Floats) -> tuple[Vectors, Floats]:
    feasible = violation <= 0
    vectors, objectives = vectors[feasible], objectives[feasible]
    mask = front(objectives)
    return vectors[mask], objectives[mask]


class _Predicted(Problem):
    def __init__(self, space: SearchSpace, score: Score) -> None:
        self.space, self.score = space, score
        self.seen: list[Vectors] = []
        self.objectives: list[Floats] = []
        self.violations: list[Floats] = []
        objectives, _ = score(space.extremes())
        super().__init__(
            n_var=len(space.genes), n_obj=objectives.shape[1], n_ieq_constr=1, xl=0, xu=space.cardinality - 1, vtype=int
        )

    def _evaluate(self, x: Any, out: dict[str, Any], *_args: Any, **_kwargs: Any) -> None:
        vectors = self.space.canonical(x.astype(np.int64))
        objectives, violation = self.score(vectors)
        self.seen.append(vectors)
        self.objectives.append(objectives)
        self.violations.append(violation)
        out["F"], out["G"] = objectives, violation[:, None]


class _Seeded(Sampling):
    def __init__(self, space: SearchSpace, seeds: Vectors) -> None:
        super().__init__()
        self.space, self.seeds = space, seeds

    def _do(self, _problem: Any, n_samples: int, *_args: Any, random_state: Any = None, **_kwargs: Any) -> Vectors:
        fresh = self.space.sample(random_state, n_samples)
        return np.concatenate([self.space.canonical(self.seeds), fresh])[:n_samples]


class _Reset(Mutation):
    def __init__(self, space: SearchSpace) -> None:
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
