"""Other searches on the same problems, each written from its description.

Every method is a function (problem, measurements, seed) -> vectors in the order they were measured, ``[n, genes]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair

from benchmarks.search.one_hot import one_hot_features
from benchmarks.search.problems import Known
from nas.search.config import BATCH
from nas.search.loop import LoopSettings, optimise
from search_spaces.genes import GeneSpace, Vectors

Floats = NDArray[np.float64]
Method = Callable[[Known, int, int], Vectors]


class Recorder:
    """Measures vectors once each, in order, up to a budget."""

    def __init__(self, known: Known, budget: int) -> None:
        self.known, self.budget = known, budget
        self.seen: dict[bytes, float] = {}
        self.rows: list[Vectors] = []

    @property
    def full(self) -> bool:
        return len(self.rows) >= self.budget

    def __call__(self, vectors: Vectors) -> Floats:
        """Accuracies ``[n]``; those that the budget no longer covers are 0."""
        new = [i for i, v in enumerate(vectors) if v.tobytes() not in self.seen]
        new = list({vectors[i].tobytes(): i for i in new}.values())[: self.budget - len(self.rows)]
        for i, value in zip(new, self.known.accuracy(vectors[new]) if new else [], strict=True):
            self.seen[vectors[i].tobytes()] = float(value)
            self.rows.append(vectors[i])
        return np.array([self.seen.get(v.tobytes(), 0.0) for v in vectors])

    def unseen(self, vectors: Vectors) -> Vectors:
        """Rows not measured yet, each once."""
        rows = {v.tobytes(): v for v in vectors if v.tobytes() not in self.seen}
        return np.stack(list(rows.values())) if rows else vectors[:0]

    @property
    def vectors(self) -> Vectors:
        return np.stack(self.rows)


def ours(batch: int = BATCH, algorithm: str = "archive") -> Method:
    """The search of this project."""

    def method(known: Known, measurements: int, seed: int) -> Vectors:
        settings = LoopSettings(seed=seed, algorithm=algorithm)
        found = optimise(
            known.problem, lambda v: float(known.accuracy(v[None])[0]), known.reference, measurements, batch,
            settings=settings,
        )  # fmt: skip
        return found.vectors

    return method


def random_search(known: Known, measurements: int, seed: int) -> Vectors:
    """Different random vectors."""
    recorder, rng = Recorder(known, measurements), np.random.default_rng(seed)
    while not recorder.full:
        recorder(known.space.sample(rng, measurements))
    return recorder.vectors


def nsga2(known: Known, measurements: int, seed: int) -> Vectors:
    """pymoo's NSGA-II on measurements, population 24, uniform crossover and reset mutation."""
    recorder = Recorder(known, measurements)

    def score(v: Vectors) -> Floats:
        return np.column_stack([1 - recorder(v), known.problem.costs(v)])

    _nsga2(known.space, score, known.space.sample(np.random.default_rng(seed), 24), seed, 24, 40 * measurements,
           lambda: recorder.full)  # fmt: skip
    return recorder.vectors


def linas(corrected: bool) -> Method:
    """LINAS (Cummings et al., arXiv:2202.12954): a random population of 50; then again and again a predictor is fitted
    to everything measured (mean of ridge and support-vector regression on one-hot genes), NSGA-II is run on its
    predictions, and its final population's unmeasured members are measured, 50 at most.

    As it is, mutation is polynomial followed by rounding; corrected, it resets genes.
    """

    def method(known: Known, measurements: int, seed: int) -> Vectors:
        from sklearn.linear_model import Ridge
        from sklearn.svm import SVR

        recorder, rng = Recorder(known, measurements), np.random.default_rng(seed)
        population, stuck = known.space.sample(rng, 50), 0
        recorder(population)
        while not recorder.full and stuck < 20:
            x, y = one_hot_features(known.space, recorder.vectors), recorder(recorder.vectors)
            mean, std = y.mean(), max(float(y.std()), 1e-9)
            models = [Ridge(alpha=0.1).fit(x, (y - mean) / std), SVR(C=5.0).fit(x, (y - mean) / std)]

            def score(v: Vectors, models: Any = models, mean: float = mean, std: float = std) -> Floats:
                seen = one_hot_features(known.space, v)
                predicted = mean + std * np.mean([m.predict(seen) for m in models], axis=0)
                return np.column_stack([1 - predicted, known.problem.costs(v)])

            population = _nsga2(
                known.space,
                score,
                population,
                seed + len(recorder.rows) + 1000 * stuck,
                50,
                2500,
                rounded=not corrected,
            )
            before = len(recorder.rows)
            recorder(recorder.unseen(population)[:50])
            stuck = stuck + 1 if len(recorder.rows) == before else 0
        while not recorder.full:
            recorder(known.space.sample(rng, 50))
        return recorder.vectors

    return method


def nsganetv2(known: Known, measurements: int, seed: int) -> Vectors:
    """In the manner of NSGANetV2 (Lu et al., arXiv:2007.10396): 100 random designs, then eight an iteration: a cubic
    radial-basis predictor, NSGA-II (population 40, 20 generations) on its predictions, and of its front the eight that
    fill the widest gaps between the measured costs."""
    from scipy.interpolate import RBFInterpolator

    recorder, rng = Recorder(known, measurements), np.random.default_rng(seed)
    while len(recorder.rows) < min(100, measurements):
        recorder(known.space.sample(rng, min(100, measurements) - len(recorder.rows)))
    movable = known.space.cardinality > 1
    top = known.space.cardinality[movable] - 1
    while not recorder.full:
        vectors, y = recorder.vectors, recorder(recorder.vectors)
        model = RBFInterpolator(vectors[:, movable] / top, y, kernel="cubic", smoothing=1e-8)

        def score(v: Vectors, model: Any = model) -> Floats:
            return np.column_stack([1 - model(v[:, movable] / top), known.problem.costs(v)])

        start = vectors[np.argsort(-y)[:40]]
        population = recorder.unseen(_nsga2(known.space, score, start, seed + len(vectors), 40, 800))
        if not len(population):
            population = recorder.unseen(known.space.sample(rng, 40))
        costs, done = known.problem.costs(population)[:, 0], known.problem.costs(vectors)[:, 0]
        chosen: list[int] = []
        for _ in range(min(8, len(population))):
            gap = np.abs(costs[:, None] - np.concatenate([done, costs[chosen]])).min(axis=1)
            gap[chosen] = -1
            chosen.append(int(gap.argmax()))
        recorder(population[chosen])
    return recorder.vectors


def tpe(known: Known, measurements: int, seed: int) -> Vectors:
    """Optuna's TPE with two objectives and categorical genes; repeated suggestions cost nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorder = Recorder(known, measurements)
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed, multivariate=False)
    )
    names = [gene.name for gene in known.space.genes]
    for _ in range(2 * measurements):
        if recorder.full:
            break
        trial = study.ask()
        row = [
            trial.suggest_categorical(n, list(range(c))) for n, c in zip(names, known.space.cardinality, strict=True)
        ]
        vector = known.space.canonical(np.array([row], dtype=np.int64))
        study.tell(trial, [1 - float(recorder(vector)[0]), float(known.problem.costs(vector)[0, 0])])
    return recorder.vectors


def _nsga2(
    space: GeneSpace,
    score: Callable[[Vectors], Floats],
    start: Vectors,
    seed: int,
    population: int,
    evaluations: int,
    stop: Callable[[], bool] = lambda: False,
    rounded: bool = False,
) -> Vectors:
    """Final population of pymoo's NSGA-II."""
    top = space.cardinality - 1

    class Scored(PymooProblem):
        def __init__(self) -> None:
            super().__init__(n_var=len(top), n_obj=2, xl=0, xu=top, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = score(space.canonical(x.astype(np.int64)))

    class Start(Sampling):
        def _do(self, _problem: Any, n_samples: int, *_: Any, random_state: Any = None, **__: Any) -> Vectors:
            return np.concatenate([start, space.sample(random_state, n_samples)])[:n_samples]

    class Reset(Mutation):
        def _do(self, _problem: Any, x: Any, *_: Any, random_state: Any = None, **__: Any) -> Vectors:
            return space.mutate(random_state, x.astype(np.int64), rate=1.5 / len(top))

    operators: dict[str, Any] = {"crossover": UniformCrossover(prob=0.9), "mutation": Reset()}
    if rounded:
        repair = RoundingRepair()
        operators = {
            "crossover": SBX(prob=0.9, eta=15, vtype=float, repair=repair),
            "mutation": PM(prob=1.0, prob_var=1 / len(top), eta=20, vtype=float, repair=repair),
        }
    algorithm = NSGA2(pop_size=population, sampling=Start(), eliminate_duplicates=True, **operators)
    algorithm.setup(Scored(), termination=("n_eval", evaluations), seed=seed)
    while algorithm.has_next() and not stop():
        algorithm.next()
    found: Vectors = space.canonical(algorithm.pop.get("X").astype(np.int64))
    return found


METHODS: dict[str, Method] = {
    "nas, batches of 6": ours(),
    "nas, batches of 16": ours(16),
    "nas, batches of 50": ours(50),
    "random": random_search,
    "NSGA-II": nsga2,
    "LINAS, mutation as it is": linas(corrected=False),
    "LINAS, mutation corrected": linas(corrected=True),
    "NSGANetV2-style": nsganetv2,
    "Optuna TPE": tpe,
}
