"""What a search is compared with, at the same number of measurements: random search, uniformly scaled subnets, and
evolution without a predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from nas.search.evolution.archive import Archive
from search_spaces.errors import UsageError, unknown_name
from search_spaces.genes import Floats, GeneSpace, Vectors

from .problem import Problem

Answer = Callable[[Vectors], Floats]
"""Vectors ``[n, genes]`` to measured accuracies ``[n]``."""

NONE = "none"
_POPULATION = 24
_ROUNDS = 40


@dataclass(frozen=True)
class Field:
    """What a baseline starts from: ``count`` candidates may be measured, as many different random ones within the
    bounds are given, and one ``start`` that is within them, too."""

    problem: Problem
    random: Vectors
    start: Vectors
    count: int
    seed: int


def random_search(field: Field, answer: Answer) -> Vectors:
    """Random candidates within the bounds."""
    answer(field.random[: field.count])
    return field.random[: field.count]


def uniform(field: Field, answer: Answer) -> Vectors:
    """Subnets that are scaled as a whole: one level for all widths, one for all depths and so on. They are evenly
    spread over the cost."""
    grid = uniform_vectors(field.problem.space)
    costs, violation = field.problem.assess(grid)
    grid, costs = grid[violation <= 0], costs[violation <= 0]
    order = grid[np.argsort(costs[:, 0], kind="stable")]
    if len(order) > field.count:
        order = order[np.unique(np.linspace(0, len(order) - 1, field.count).round().astype(int))]
    if len(order):
        answer(order)
    return order


def uniform_vectors(space: GeneSpace) -> Vectors:
    """All subnets whose genes of one kind have the same level, ``[n, genes]``."""
    kinds = dict.fromkeys(gene.kind for gene in space.genes)
    members = [[i for i, gene in enumerate(space.genes) if gene.kind == kind] for kind in kinds]
    levels = [np.linspace(0, 1, max(2, int(space.cardinality[genes].max()))) for genes in members]
    rows = np.zeros((int(np.prod([len(level) for level in levels])), len(space.genes)))
    for row, chosen in zip(rows, product(*levels), strict=True):
        for genes, level in zip(members, chosen, strict=True):
            row[genes] = level
    vectors = space.canonical((rows * (space.cardinality - 1)).round().astype(np.int64))
    return np.unique(vectors, axis=0)


def nsga2(field: Field, answer: Answer) -> Vectors:
    """NSGA-II (pymoo's) on measurements: population 24, uniform crossover, genes reset at random. Candidates out of
    the bounds are known without a measurement."""
    from nas.search.evolution.nsga2 import run_nsga2

    problem, space = field.problem, field.problem.space
    measured: dict[bytes, float] = {}
    rows: list[Vectors] = []

    def score(vectors: Vectors) -> tuple[Floats, Floats]:
        costs, violation = problem.assess(vectors)
        new = {v.tobytes(): v for v in vectors[violation <= 0] if v.tobytes() not in measured}
        asked = list(new.values())[: field.count - len(rows)]
        if asked:
            accuracies = answer(np.stack(asked))
            measured.update({v.tobytes(): float(a) for v, a in zip(asked, accuracies, strict=True)})
            rows.extend(asked)
        if len(rows) >= field.count:
            raise _Spent
        error = np.array([1 - measured.get(v.tobytes(), 0.0) for v in vectors])
        return np.column_stack([error, costs]), violation

    seeds = np.concatenate([field.start[None], field.random[: _POPULATION - 1]])
    try:
        archive = Archive(score, len(space.genes))
        run_nsga2(space, archive, seeds, field.seed, _ROUNDS * field.count, _POPULATION)
    except _Spent:
        pass
    return np.stack(rows)


class _Spent(Exception):
    """The measurements are used up."""


BASELINES: dict[str, Callable[[Field, Answer], Vectors]] = {
    "random": random_search,
    "uniform": uniform,
    "nsga2": nsga2,
}


def parse_baselines(text: str) -> tuple[str, ...]:
    """Names in :data:`BASELINES` out of ``random,nsga2`` and the like; ``none``: no baseline. Raises UsageError where
    one is unknown or repeated."""
    if text == NONE:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in BASELINES:
            raise unknown_name("baseline", name, (*BASELINES, NONE))
    if len(set(names)) < len(names):
        raise UsageError(f"`compare` is {text}, which names a baseline twice; give each once")
    return names
