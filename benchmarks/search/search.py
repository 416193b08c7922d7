"""How few measurements a search needs, and how well its parts do: every method in the same run, mean and spread.

- ``predictors``: Kendall tau, error and coverage of the accuracy predictors, N = 16 to 400, real ImageNet measurements.
- ``engine``: candidates a second and hypervolume at 20,000 predictions, against pymoo's algorithms; seconds of
  a search.
- ``measurements``: hypervolume over measurements on three problems, against other searches.
- ``transfer``: a second target from the first one's measurements, without new ones.
- ``table``: measures the 432 candidates of the ``demo`` problem on a trained run (``--run``), for ``measurements``.

``python -m benchmarks.search.search all`` runs the first four. Reads the shared measurements (``NAS_BENCH_DATA``).
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every figure is for one core

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.search.baselines import METHODS
from benchmarks.search.one_hot import one_hot_features
from benchmarks.search.problems import Known, demo, measure_demo, nb201, ofa, ofa_measured, surrogate_error
from nas.search.config import ALGORITHMS
from nas.search.evolution.evolve import evolve
from nas.search.loop import Loop, LoopSettings, optimise
from nas.search.pareto import hypervolume
from predictors.accuracy.features import space_features
from predictors.accuracy.gp import fit_gp
from predictors.accuracy.predictor import PREDICTORS
from predictors.accuracy.selection import fit_predictor
from search_spaces.genes import Vectors

Floats = NDArray[np.float64]

SIZES = (16, 25, 50, 100, 200, 400)
CALLS = 20_000


def print_table(title: str, head: list[str], rows: Iterable[list[str]]) -> None:
    """A table, each row as soon as it is there."""
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def spread(values: list[float], digits: int = 1) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


# predictors


def stack(features: Floats, accuracy: Floats) -> Callable[[Floats], Floats]:
    """Mean of ridge and support-vector regression on one-hot genes, as DyNAS-T does it."""
    from sklearn.linear_model import Ridge
    from sklearn.svm import SVR

    mean, std = accuracy.mean(), accuracy.std()
    models = [model.fit(features, (accuracy - mean) / std) for model in (Ridge(alpha=0.1), SVR(C=5.0))]
    return lambda x: mean + std * np.mean([model.predict(x) for model in models], axis=0)


def predictors(seeds: range) -> None:
    space, tables, vectors, accuracy = ofa_measured()
    real = (
        "OFA-MobileNetV3, ImageNet",
        space_features(space, tables, vectors),
        one_hot_features(space, vectors),
        accuracy,
    )
    cells = nb201()
    assert cells.everything is not None
    cell = cells.problem.features(cells.everything)
    other = ("NAS-Bench-201, CIFAR-10", cell, one_hot_features(cells.space, cells.everything),
             cells.accuracy(cells.everything))  # fmt: skip
    for name, features, single, truth in (real, other):
        rows: dict[str, list[str]] = {}
        for n in SIZES:
            found: dict[str, list[tuple[float, float, float]]] = {}
            for seed in seeds:
                order = np.random.default_rng(seed).permutation(len(truth))
                known, rest = order[:n], order[n : n + 3000]
                line = np.polyfit(features.physics[known, 0], truth[known], 1)
                answers: dict[str, tuple[Floats, Floats | None]] = {
                    "log MACs alone": (np.polyval(line, features.physics[rest, 0]), None),
                    "ridge + SVR": (stack(single[known], truth[known])(single[rest]), None),
                }
                for kind in PREDICTORS:
                    answers[kind] = fit_predictor(kind, features[known], truth[known], seed=seed).predict(
                        features[rest]
                    )
                for kind, (mean, std) in answers.items():
                    found.setdefault(kind, []).append(fidelity(mean, std, truth[rest]))
            for kind, values in found.items():
                tau, rmse, covered = np.mean(values, axis=0)
                inside = "" if np.isnan(covered) else f" / {covered:.2f}"
                rows.setdefault(kind, [kind]).append(f"{tau:.3f} / {rmse:.3f}{inside}")
        title = f"{name}: Kendall tau / RMSE in % / share within one stated deviation, {len(seeds)} seeds"
        print_table(title, ["predictor", *(f"N = {n}" for n in SIZES)], list(rows.values()))


def fidelity(mean: Floats, std: Floats | None, truth: Floats) -> tuple[float, float, float]:
    """Kendall tau, RMSE in %, and the share of errors within one deviation (nan without)."""
    off = mean - truth
    covered = np.nan if std is None else float(np.mean(np.abs(off) < std))
    return float(kendalltau(mean, truth).statistic), 100 * float(np.sqrt(np.mean(off**2))), covered


# engine


def engine(seeds: range) -> None:
    known = ofa()
    rng = np.random.default_rng(0)
    learned = known.space.sample(rng, 100)
    gp = fit_gp(known.problem.features(learned), known.accuracy(learned))

    def score(vectors: Vectors) -> tuple[Floats, Floats]:
        error = 1 - gp.mean_of(known.problem.features(vectors))
        return np.column_stack([error, known.problem.costs(vectors)[:, 0]]) / known.reference, np.zeros(len(vectors))

    flat = rng.standard_normal((2, len(known.space.genes)))

    def cheap(vectors: Vectors) -> tuple[Floats, Floats]:
        return vectors @ flat.T, np.zeros(len(vectors))

    ends, one = known.space.extremes(), np.ones(2)
    polished = [evolve(known.space, score, ends, seed, 2 * CALLS, polish=True)[1] for seed in range(2)]
    best = max(hypervolume(found, one) for found in polished)

    def rows() -> Iterator[list[str]]:
        for algorithm in ALGORITHMS:
            volumes, rates = [], []
            for seed in seeds:
                began = time.process_time()
                _, found = evolve(known.space, score, ends, seed, CALLS, algorithm)
                rates.append(CALLS / (time.process_time() - began))
                volumes.append(100 * hypervolume(found, one) / best)
            began = time.process_time()
            evolve(known.space, cheap, ends, seeds[0], CALLS, algorithm)
            own = CALLS / (time.process_time() - began)
            yield [algorithm, spread(volumes, 2), f"{np.median(rates):,.0f}", f"{own:,.0f}"]

    head = ["algorithm", "% of the best HV", "candidates/s", "with objectives that cost nothing"]
    title = f"Engine: {CALLS:,} predictions (Gaussian process of 100 measurements and latency), 45 genes"
    print_table(title, head, rows())
    began = time.process_time()
    for _ in range(20):
        score(learned[np.arange(1000) % 100])
    rate = 20_000 / (time.process_time() - began)
    print(f"\nThe predictions alone: {rate:,.0f} a second.")
    own_seconds(known, seeds)


def own_seconds(known: Known, seeds: range) -> None:
    """Processor time of predictor and engine in a search of 250 measurements, the answers' own time taken off."""
    times = []
    for seed in seeds:
        spent = 0.0

        def answer(vector: Vectors) -> float:
            nonlocal spent
            began = time.process_time()
            value = float(known.accuracy(vector[None])[0])
            spent += time.process_time() - began
            return value

        began = time.process_time()
        optimise(known.problem, answer, known.reference, 250, settings=LoopSettings(seed=seed))
        times.append(time.process_time() - began - spent)
    print(f"\nPredictor and engine, 250 measurements in batches of 6: {spread(times, 2)} s of processor time")


# measurements


def best_known(known: Known) -> float:
    """True hypervolume of an enumerable problem, else the best of long searches on the true accuracies."""
    if known.everything is not None:
        return known.volume(known.everything)

    def score(vectors: Vectors) -> tuple[Floats, Floats]:
        return known.points(vectors), np.zeros(len(vectors))

    fronts = [evolve(known.space, score, known.space.extremes(), seed, 40_000, polish=True)[0] for seed in range(3)]
    return known.volume(np.concatenate(fronts))


def measurements(seeds: range, tables: Path, only: list[str], methods: list[str]) -> None:
    problems: dict[str, tuple[Callable[[], Known], tuple[int, ...]]] = {
        "ofa": (ofa, (20, 30, 50, 100, 250)),
        "nb201": (nb201, (20, 50, 100, 240)),
        "demo": (lambda: demo(tables), (20, 40, 60)),
    }
    for name in only or problems:
        known, marks = problems[name][0](), problems[name][1]
        print(f"\n{name}: {known.note}; reference corner: error {known.reference[0]:.4f}, {known.reference[1]:.2f} ms")
        if name == "ofa":
            print(f"Surrogate: hold-out RMSE {100 * surrogate_error():.3f} % accuracy (five folds)")
        title = f"{name}: % of the best hypervolume after n measurements, {len(seeds)} seeds"
        print_table(title, ["method", *map(str, marks), "s a search"], _shares(known, marks, seeds, methods))


def _shares(known: Known, marks: tuple[int, ...], seeds: range, methods: list[str]) -> Iterator[list[str]]:
    """One row a method."""
    best = best_known(known)
    for method, search in METHODS.items():
        if methods and not any(part in method for part in methods):
            continue
        found: list[list[float]] = []
        began = time.process_time()
        for seed in seeds:
            vectors = search(known, marks[-1], seed)
            found.append([100 * known.volume(vectors[:n]) / best for n in marks])
        seconds = (time.process_time() - began) / len(seeds)
        yield [method, *(spread([f[i] for f in found]) for i in range(len(marks))), f"{seconds:.1f}"]


# transfer


def predicted_front(loop: Loop) -> Vectors:
    """The front by a loop's predictions alone, searched to the end."""
    problem, predictor = loop.problem, loop.predictor()

    def score(vectors: Vectors) -> tuple[Floats, Floats]:
        costs, violation = problem.assess(vectors)
        return np.column_stack([1 - predictor.mean_of(problem.features(vectors)), costs]) / loop.reference, violation

    return evolve(problem.space, score, loop.vectors, loop.settings.seed, CALLS, polish=True)[0]


def transfer(seeds: range, second: str = "host") -> None:
    first, other = ofa(), ofa(second)
    best = best_known(other)
    rows = []
    for n in (50, 100, 250):
        volumes, seconds = [], []
        for seed in seeds:
            done = optimise(first.problem, lambda v: float(first.accuracy(v[None])[0]), first.reference, n,
                            settings=LoopSettings(seed=seed))  # fmt: skip
            began = time.process_time()
            loop = Loop(other.problem, LoopSettings(seed=seed), other.reference)
            loop.tell(done.vectors, done.accuracy)
            vectors = predicted_front(loop)
            seconds.append(time.process_time() - began)
            volumes.append(100 * other.volume(vectors) / best)
        rows.append([str(n), spread(volumes), spread(seconds, 2)])
    print_table(f"A front for '{second}' from measurements made for 'cortex-a72', none new, {len(seeds)} seeds",
                ["measured before", "% of the best HV", "s of processor time"], rows)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("all", "predictors", "engine", "measurements", "transfer", "table"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="trained run that 'table' measures")
    parser.add_argument("--table", type=Path, default=Path("runs/demo-table.json"), help="what 'table' writes")
    parser.add_argument("--problems", nargs="*", default=[], help="of 'measurements': ofa, nb201, demo")
    parser.add_argument("--methods", nargs="*", default=[], help="of 'measurements': parts of their names")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if given.what == "table":
        measure_demo(given.run, given.table)
    if given.what in ("predictors", "all"):
        predictors(seeds)
    if given.what in ("engine", "all"):
        engine(seeds)
    if given.what in ("measurements", "all"):
        measurements(seeds, given.table, given.problems, given.methods)
    if given.what in ("transfer", "all"):
        transfer(seeds)


if __name__ == "__main__":
    main()
