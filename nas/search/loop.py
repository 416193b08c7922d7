"""The loop: first designs, fit, evolve, choose a batch, measure, refit.

``Loop`` asks and is told; it measures nothing itself, so that one process, many workers or a table can answer.
``optimise`` is the whole search where one callable answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.evolve import evolve, one_exchange
from nas.store.seeds import stream
from nas.store.settings import SEED, Setting, check_settings
from predictors.accuracy.gp import GroupGP, fit_gp
from predictors.accuracy.predictor import DEFAULT, AccuracyPredictor
from predictors.accuracy.selection import WORTH_ASKING, Selection, choose, fit_predictor
from search_spaces.genes import Floats, GeneSpace, Vectors, all_vectors

from .acquisition import choose_batch
from .config import ALGORITHM, AUTO, BATCH, PREDICTOR
from .pareto import front, hypervolume
from .problem import Problem

FIRST_DESIGNS = 12

_EVALUATIONS = 2500
_SMALL = 20_000
_SHORTLIST = 1000
_SETTLED, _GROWTH = 40, 1.08
_STALLED = 1e-3


@dataclass(frozen=True)
class LoopSettings:
    """How a loop works."""

    seed: Annotated[int, SEED] = 0
    algorithm: Annotated[str, ALGORITHM] = "archive"
    predictor: Annotated[str, PREDICTOR] = AUTO
    evaluations: Annotated[int, Setting("Predictions that one evolution may ask for.", at_least=1)] = _EVALUATIONS


class Loop:
    """Proposes candidates, learns from their accuracies. Given the same answers in the same order it asks the same
    questions. ``reference`` is the worst corner ``[1 + k]`` (error, costs) of the hypervolume that is to grow."""

    def __init__(self, problem: Problem, settings: LoopSettings, reference: Floats) -> None:
        check_settings(settings)
        self.problem, self.settings, self.reference = problem, settings, reference
        self.vectors: Vectors = np.zeros((0, len(problem.space.genes)), dtype=np.int64)
        self.accuracy: Floats = np.zeros(0)
        self._costs: Floats = np.zeros((0, len(reference) - 1))
        self._violation: Floats = np.zeros(0)
        self.noise_std = 0.0
        self.choice = Selection() if settings.predictor == AUTO else Selection(settings.predictor)
        self.volumes: list[float] = []
        self._gp: GroupGP | None = None
        self._refined = 0
        self._fitted: AccuracyPredictor | None = None
        self._pool: Vectors = self.vectors

    def tell(self, vectors: Vectors, accuracy: Floats, noise_std: float = 0.0) -> None:
        """Learn the accuracies ``[n]`` of vectors ``[n, genes]``; ``noise_std``: known error of one measurement."""
        self.vectors = np.concatenate([self.vectors, vectors])
        self.accuracy = np.concatenate([self.accuracy, accuracy])
        costs, violation = self.problem.assess(vectors)
        self._costs = np.concatenate([self._costs, costs])
        self._violation = np.concatenate([self._violation, violation])
        self.noise_std = noise_std
        self._fitted = None
        points = self.points() / self.reference
        self.volumes += [hypervolume(points[front(points)], np.ones(points.shape[1]))] * len(vectors)

    def points(self) -> Floats:
        """Objectives (error, costs) ``[n, 1 + k]`` of what is measured and within the bounds."""
        return np.column_stack([1 - self.accuracy[self.feasible], self._costs[self.feasible]])

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which of the measured vectors are within the bounds, ``[n]``."""
        return self._violation <= 0

    def stalled(self, patience: int) -> bool:
        """Whether the hypervolume grew by less than a thousandth over the last ``patience`` measurements; 0: never."""
        if patience <= 0 or len(self.volumes) <= patience + FIRST_DESIGNS:
            return False
        return self.volumes[-1] < (1 + _STALLED) * self.volumes[-1 - patience]

    def predictor(self) -> AccuracyPredictor:
        """The accuracy predictor, fitted to everything told."""
        if self._fitted is None:
            self._fitted = self._fit()
        return self._fitted

    def _fit(self) -> AccuracyPredictor:
        n, kind = len(self.accuracy), self.choice.kind
        features = self.problem.features(self.vectors)
        if kind != DEFAULT and self.settings.predictor != AUTO:
            return fit_predictor(kind, features, self.accuracy, self.noise_std, self.settings.seed)
        # Hyper-parameters settle: they are sought anew only where a twelfth more is known.
        refine = n < _SETTLED or n >= _GROWTH * self._refined
        start = self._gp.theta if self._gp is not None and n >= FIRST_DESIGNS else None
        self._gp = fit_gp(features, self.accuracy, self.noise_std, start, steps=60 if refine else 0)
        self._refined = n if refine else self._refined
        if self.settings.predictor != AUTO:
            return self._gp
        if n >= max(WORTH_ASKING, 3 * self.choice.measurements):
            self.choice = choose(self._gp, features, self.accuracy, self.settings.seed)
        if self.choice.kind != DEFAULT:
            return fit_predictor(self.choice.kind, features, self.accuracy, self.noise_std, self.settings.seed)
        return self._gp

    def ask(self, size: int, pending: Vectors | None = None) -> Vectors:
        """Up to ``size`` candidates to measure next, the most promising first; none where everything is measured.
        ``pending``: candidates ``[m, genes]`` that are being measured elsewhere."""
        problem = self.problem
        pending = self.vectors[:0] if pending is None else pending
        predictor = self.predictor()
        rng = stream(self.settings.seed, "search.batch", len(self.accuracy) + len(pending))
        known = np.concatenate([self.vectors, pending])
        pool = self._open(self._candidates(predictor, rng), known)
        if not len(pool):  # few keep tight bounds: look beside all that do
            pool = self._open(one_exchange(problem.space, self.vectors[self.feasible]), known)
        if not len(pool):
            return pool
        measured = self.points()
        measured = measured[front(measured)]
        both = np.concatenate([pending, self._shortlist(predictor, pool, measured)])
        features, costs = problem.features(both), problem.costs(both)
        return both[choose_batch(predictor, features, costs, measured, self.reference, size, len(pending))]

    def _open(self, vectors: Vectors, known: Vectors) -> Vectors:
        """Those within the bounds that are not known, each once."""
        rows = {row.tobytes(): row for row in vectors}
        for row in known:
            rows.pop(row.tobytes(), None)
        left = np.stack(list(rows.values())) if rows else vectors[:0]
        return left[self.problem.violation(left) <= 0]

    def _shortlist(self, predictor: AccuracyPredictor, pool: Vectors, measured: Floats) -> Vectors:
        """Of many candidates those whose predicted error is lowest against what is measured at no higher cost."""
        if len(pool) <= _SHORTLIST:
            return pool
        costs = self.problem.costs(pool)
        best = np.full(len(pool), self.reference[0])
        for point in measured:
            best = np.where((point[1:] <= costs).all(axis=1), np.minimum(best, point[0]), best)
        promise = best - (1 - predictor.mean_of(self.problem.features(pool)))
        promise[(costs >= self.reference[1:]).any(axis=1)] = -np.inf
        return pool[np.sort(np.argsort(-promise, kind="stable")[:_SHORTLIST])]

    def _candidates(self, predictor: AccuracyPredictor, rng: np.random.Generator) -> Vectors:
        """Where the batch is chosen from: the predicted front, its surroundings, and some anywhere."""
        space = self.problem.space
        if space.size <= _SMALL:
            return all_vectors(space)
        best = self.vectors[self.feasible][front(self.points())]
        seeds = np.concatenate([best, self._pool])
        seed = int(rng.integers(2**31))
        evaluations, algorithm = self.settings.evaluations, self.settings.algorithm

        def score(vectors: Vectors) -> tuple[Floats, Floats]:
            error = 1 - predictor.mean_of(self.problem.features(vectors))
            costs, violation = self.problem.assess(vectors)
            return np.column_stack([error, costs]) / self.reference, violation

        self._pool, _ = evolve(space, score, seeds, seed, evaluations, algorithm)
        near = space.mutate(rng, np.concatenate([self._pool, best]), 1.0 / len(space.genes))
        return np.concatenate([self._pool, near, space.sample(rng, 200)])


@dataclass(frozen=True)
class LoopResult:
    """What a search measured.

    Attributes:
        vectors, accuracy: everything measured, in order, ``[n, genes]`` and ``[n]``.
        front: rows of the measured Pareto front (error and all costs minimised), cheapest first.
        volumes: hypervolume after each measurement, as a share of the box below the reference.
        choice: the accuracy predictor that was used last, and why.
    """

    vectors: Vectors
    accuracy: Floats
    front: list[int]
    volumes: list[float]
    choice: Selection


def optimise(
    problem: Problem,
    measure: Callable[[Vectors], float],
    reference: Floats,
    measurements: int,
    batch: int = BATCH,
    seconds: float = np.inf,
    patience: int = 0,
    settings: LoopSettings | None = None,
) -> LoopResult:
    """Search any problem with a callable.

    Args:
        measure: one vector ``[genes]`` to its accuracy on [0, 1]; called once for each candidate, and at most as often
            as ``measurements`` says.
        reference: worst corner (error, costs) of the hypervolume.
        batch, seconds, patience: as of :class:`nas.search.config.SearchConfig`.
    """
    settings = settings or LoopSettings()
    loop = Loop(problem, settings, reference)
    began = time.monotonic()
    todo = first_designs(problem, settings.seed, min(FIRST_DESIGNS, measurements))
    while len(todo):
        loop.tell(todo, np.array([measure(vector) for vector in todo]))
        left = measurements - len(loop.accuracy)
        if left <= 0 or time.monotonic() - began > seconds or loop.stalled(patience):
            break
        todo = loop.ask(min(batch, left))
    points = loop.points()
    best = np.flatnonzero(front(points))
    order = np.flatnonzero(loop.feasible)[best[np.argsort(points[best, 1], kind="stable")]]
    return LoopResult(loop.vectors, loop.accuracy, order.tolist(), loop.volumes, loop.choice)


def first_designs(problem: Problem, seed: int, count: int, more: Vectors | None = None) -> Vectors:
    """Up to ``count`` different candidates within the bounds: the smallest, the largest, and random ones at evenly
    spaced levels of the first cost's logarithm. ``more``: candidates within the bounds that may be taken too, for
    bounds that random ones do not meet."""
    space = problem.space
    pool = np.concatenate([space.extremes(), *([] if more is None else [more]), _biased(space, seed, 4000)])
    _, first = np.unique(pool, axis=0, return_index=True)
    pool = pool[np.sort(first)]
    costs, violation = problem.assess(pool)
    pool, costs = pool[violation <= 0], costs[violation <= 0]
    if len(pool) <= count:
        return pool
    level = np.log(np.maximum(costs[:, 0], 1e-12))
    chosen = list(range((pool[:2, None] == space.extremes()).all(-1).any(1).sum()))
    for want in np.linspace(level.min(), level.max(), count - len(chosen) + 2)[1:-1]:
        distance = np.abs(level - want)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return pool[chosen[:count]]


def _biased(space: GeneSpace, seed: int, n: int) -> Vectors:
    """Random vectors from the smallest to the largest: each row draws its genes around a level of its own."""
    rng = stream(seed, "search.biased")
    level = rng.uniform(-0.5, 1.5, size=(n, 1))
    share = np.clip(level + rng.uniform(-0.3, 0.3, size=(n, len(space.genes))), 0, 1 - 1e-9)
    return space.canonical((share * space.cardinality).astype(np.int64))
