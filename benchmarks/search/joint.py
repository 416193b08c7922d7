"""Precision and architecture searched together, against the architecture first and its precision afterwards.

    python -m benchmarks.search.joint search RUN [--measurements 60] [--seeds 0 1 2 3 4] [--menu fp32,int8,w4a8]
    python -m benchmarks.search.joint ranking

``search`` measures candidates of a trained run as ``nas search`` does; every accuracy is kept in ``--out``, so that a
stopped command continues, and searches that ask for the same candidate share its measurement. Each way has as many
measurements of its own:

- together: one search over architectures and policies;
- architecture first: half of them search architectures in fp32, half search policies of the front's architectures;
- one precision: all of them search architectures at that precision.

Hypervolumes are of error, latency and size on the search split, as shares of one box.

``ranking`` asks how well a network's fp32 accuracy tells its quantized one, in a published table of a whole space
(``NAS_BENCH_DATA``): what a search in fp32 relies on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.support.data import data_file, read_table
from benchmarks.support.genes import plain_space
from nas.candidates.candidate import Candidate, CandidateSpace
from nas.candidates.ship import measure
from nas.search.bounds import Bounds
from nas.search.costs import CandidateCosts
from nas.search.loop import LoopSettings, optimise
from nas.search.pareto import front, hypervolume
from nas.search.problem import Problem, problem
from nas.search.search import problem_of
from nas.store.files import read_json, write_json
from nas.store.run import Run
from nas.workflows.trained import Trained, open_trained
from predictors.targets.target import load_target
from search_spaces.genes import Vectors
from search_spaces.policy import WEIGHT_BITS, parse_menu, stages_of

Floats = NDArray[np.float64]


class Measured:
    """Accuracies of a run's candidates on the search split, kept in a file."""

    def __init__(self, trained: Trained, path: Path) -> None:
        self.trained, self.path = trained, path
        self.known: dict[str, float] = read_json(path) if path.exists() else {}

    def __call__(self, candidate: Candidate) -> float:
        key = f"{candidate.architecture.to_json()} {candidate.precision}"
        if key not in self.known:
            trained = self.trained
            self.known[key] = measure(trained.net, trained.dataset, candidate, "search", trained.calibration).value
            write_json(self.path, self.known)
        return self.known[key]


class Contest:
    """Ways to search one run, compared in one box."""

    def __init__(self, trained: Trained, measured: Measured, target: str, menu: tuple[str, ...]) -> None:
        device = load_target(target)
        bits = tuple(WEIGHT_BITS[p] for p in menu if WEIGHT_BITS[p] <= 8)
        self.target = replace(device, weight_bits=bits) if bits else device
        self.trained, self.measured, self.menu = trained, measured, menu
        start = measured(Candidate(trained.space.smallest, "int8" if "int8" in menu else menu[-1]))
        largest = self.costs(menu).of(self.costs(menu).space.extremes()[1:])[0, :2]
        self.reference = np.array([1.1 * (1 - start) + 1e-3, *(1.01 * largest)])

    def costs(self, menu: tuple[str, ...]) -> CandidateCosts:
        info = self.trained.dataset.info
        tables = self.trained.costs(self.target, "int8").tables
        assert tables.interface.outputs == len(info.classes)
        return CandidateCosts(self.trained.space, tables, self.target, ",".join(menu))

    def points(self, candidates: list[Candidate]) -> Floats:
        """Error, latency and size of candidates, ``[n, 3]``."""
        costs = self.costs(self.menu)
        found = costs.of(costs.candidates.vectors(candidates))[:, :2]
        return np.column_stack([[1 - self.measured(c) for c in candidates], found])

    def share(self, candidates: list[Candidate]) -> float:
        """Hypervolume of candidates."""
        return hypervolume(self.points(candidates) / self.reference, np.ones(3))

    def searched(self, menu: tuple[str, ...], count: int, seed: int) -> list[Candidate]:
        """What a search over architectures and a menu measures."""
        costs = self.costs(menu)
        return self._run(problem_of(costs, Bounds(), ("latency", "size")), costs.candidates, count, seed)

    def afterwards(self, count: int, seed: int) -> list[Candidate]:
        """An fp32 search of half the measurements, then a search over policies of its front."""
        first = self.searched(("fp32",), count // 2, seed)
        best = [c for c, keep in zip(first, front(self.points(first)), strict=True) if keep]
        stages = stages_of(self.trained.space)
        bits = tuple(sorted(WEIGHT_BITS[p] for p in self.menu))
        genes = {"network": tuple(range(len(best)))} | {f"{s}.bits": bits for s in ("outer", *stages)}
        space, both = plain_space("policies", genes), CandidateSpace(self.trained.space, self.menu)
        own = self.trained.space.encode_many([c.architecture for c in best])

        def joined(vectors: Vectors) -> Vectors:
            return np.concatenate([own[vectors[:, 0]], vectors[:, 1:]], axis=1)

        costs = self.costs(self.menu)
        policies = problem(space, lambda v: costs.of(joined(v))[:, :2])
        answered: list[Candidate] = []

        def answer(vector: Vectors) -> float:
            answered.extend(both.candidates(joined(vector[None])))
            return self.measured(answered[-1])

        optimise(policies, answer, self.reference, count - len(first), settings=LoopSettings(seed))
        return first + answered

    def _run(self, searched: Problem, both: CandidateSpace, count: int, seed: int) -> list[Candidate]:
        def answer(vector: Vectors) -> float:
            return self.measured(both.candidates(vector[None])[0])

        found = optimise(searched, answer, self.reference, count, settings=LoopSettings(seed))
        return both.candidates(found.vectors)


def search(given: argparse.Namespace) -> None:
    trained = open_trained(Run(given.run))
    given.out.mkdir(parents=True, exist_ok=True)
    menu = parse_menu(given.menu)
    contest = Contest(
        trained, Measured(trained, given.out / f"measured-{trained.weights[:12]}.json"), given.target, menu
    )
    ways: dict[str, Callable[[int], list[Candidate]]] = {
        "together": lambda seed: contest.searched(menu, given.measurements, seed),
        "architecture first": lambda seed: contest.afterwards(given.measurements, seed),
    }
    ways |= {f"{p} alone": lambda seed, p=p: contest.searched((p,), given.measurements, seed) for p in given.alone}  # type: ignore[misc]
    print(f"{trained.space.name}, {given.target}, {', '.join(menu)}, {given.measurements} measurements each, "
          f"{len(given.seeds)} seeds; hypervolume of error, latency and size\n")  # fmt: skip
    print("| | hypervolume | seeds won against together |\n|---|---|---|")
    shares: dict[str, Floats] = {}
    for name, way in ways.items():
        shares[name] = np.array([contest.share(way(seed)) for seed in given.seeds])
        won = "" if name == "together" else f"{int((shares[name] > shares['together']).sum())} of {len(given.seeds)}"
        print(f"| {name} | {shares[name].mean():.4f} ± {shares[name].std():.4f} | {won} |", flush=True)


def ranking(given: argparse.Namespace) -> None:
    measured = read_table(data_file("tabular/analog_nasbench_cifar10_quant.csv"))
    rows = [[float(row[key]) for key in ("fp", "ptq", "qat")] for row in measured]
    table = np.array(rows)
    print(f"{len(table):,} networks of NAS-Bench-201\n\n| networks | fp32 against int8 after training | against QAT | "
          "PTQ against QAT |\n|---|---|---|---|")  # fmt: skip
    groups = {"all": np.ones(len(table), bool)}
    for share in (10, 1):
        groups[f"best {share} % in fp32"] = table[:, 0] >= np.quantile(table[:, 0], 1 - share / 100)
    for name, chosen in groups.items():
        fp, ptq, qat = table[chosen].T
        taus = [float(kendalltau(a, b).statistic) for a, b in ((fp, ptq), (fp, qat), (ptq, qat))]
        print(f"| {name} ({chosen.sum():,}) | {taus[0]:.3f} | {taus[1]:.3f} | {taus[2]:.3f} |")
    best = table[:, 0].argmax()
    print(f"\nthe best network in fp32 is number {1 + int((table[:, 2] > table[best, 2]).sum())} after "
          f"quantization-aware training, and number {1 + int((table[:, 1] > table[best, 1]).sum())} after "
          f"post-training quantization")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("search")
    one.set_defaults(work=search)
    one.add_argument("run", type=Path)
    one.add_argument("--measurements", type=int, default=60)
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    one.add_argument("--menu", default="fp32,int8,w4a8")
    one.add_argument("--alone", nargs="*", default=["int8"], help="single precisions to search too")
    one.add_argument("--target", default="cortex-a72")
    one.add_argument("--out", type=Path, default=Path("runs/bench-joint"))
    commands.add_parser("ranking").set_defaults(work=ranking)
    given = parser.parse_args()
    given.work(given)


if __name__ == "__main__":
    main()
