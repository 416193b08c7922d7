"""What a supernet's subnets are worth: against the same networks trained alone, and as a ranking of architectures.

    python -m benchmarks.training.quality [--short] [--data fashion] [--lr 0.4] [--seconds 600] ...

Times are processor time of one thread. Every finished training is kept as a file in ``--out``: the same command
continues where it stopped, and a larger one only adds what is new. ``--short`` takes about five minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.support.cells import SOURCES, cell, family, source_of, summary, trained_alone, trained_supernet
from benchmarks.support.results import COLUMNS, add_out, figures, write_results
from nas.training.config import TrainConfig
from predictors.costs.network import total_macs
from predictors.costs.tables import CostTables
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture, Interface

POOL = 2000


@dataclass(frozen=True)
class Budget:
    """How much the experiment may take.

    Attributes:
        seconds: processor time of the supernet.
        times: the supernet's time in trainings of the largest network alone, which sets the steps of all of them.
        randoms: random subnets besides the smallest, middle and largest.
        bins, each: the ranking's architectures: so many groups of nearly equal MACs, with so many members; 0: none.
        alone_lr: learning rate of networks trained alone; 0: the supernet's.
        same_time: 1: also share the supernet's time among all networks trained alone; 0: leave that out.
    """

    seconds: float = 150.0
    times: float = 2.0
    randoms: int = 10
    bins: int = 4
    each: int = 5
    alone_lr: float = 0.0
    same_time: int = 1


SHORT = Budget(seconds=40, randoms=3, bins=4, each=5)


def binned(space: SearchSpace, bins: int, each: int, seed: int) -> tuple[list[Architecture], NDArray[np.int64]]:
    """Architectures in groups of nearly equal MACs, and each one's group; group centres spread over random ones'."""
    vectors = np.unique(space.sample(np.random.default_rng([seed, 8]), POOL), axis=0)
    macs = macs_of(space, [space.decode(v) for v in vectors])
    chosen: list[int] = []
    if not bins * each:
        return [], np.zeros(0, np.int64)
    for centre in np.quantile(macs, (np.arange(bins) + 0.5) / bins):
        near = [int(i) for i in np.argsort(abs(macs - centre)) if int(i) not in chosen]
        chosen += near[:each]
    return [space.decode(vectors[i]) for i in chosen], np.repeat(np.arange(bins), each)


def macs_of(space: SearchSpace, architectures: list[Architecture]) -> NDArray[np.float64]:
    """Multiply-accumulates, ``[n]``, for a classifier of 10 classes."""
    tables = CostTables(space, Interface(3, 10))
    return total_macs(tables.features(np.stack([space.encode(a) for a in architectures])))


def rank_correlations(
    truth: NDArray[np.float64], guesses: dict[str, NDArray[np.float64]], groups: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Kendall's tau of each guess with the truth: over all, and its mean within groups. Constant guesses have 0."""

    def tau(rows: NDArray[np.bool_], guess: NDArray[np.float64]) -> float:
        value = float(kendalltau(truth[rows], guess[rows]).statistic)
        return 0.0 if np.isnan(value) else value

    everything = np.ones(len(truth), bool)
    if len(truth) < 2:
        return {}
    return {
        name: {
            "all": tau(everything, guess),
            "within": float(np.mean([tau(groups == g, guess) for g in np.unique(groups)])),
        }
        for name, guess in guesses.items()
    }


def quality(folder: Path, data: str, config: TrainConfig, budget: Budget) -> dict[str, Any]:
    """All cells of the experiment that are not done yet, and its tables."""
    space = get_space(config.space)
    config = replace(config, source=source_of(data, folder))
    title = f"{data}-{config.space}-{config.strategy}-lr{config.lr:g}-s{config.seed}"
    members = family(space, budget.randoms, config.seed)
    ranked, groups = binned(space, budget.bins, budget.each, config.seed)
    asked = members | {f"ranked{i}": a for i, a in enumerate(ranked)}
    name = f"quality-{title}-{budget.seconds:g}s-r{budget.randoms}-b{budget.bins}x{budget.each}"
    shared = cell(folder, name, lambda: trained_supernet(folder / name, config, budget.seconds, asked))

    by_itself = replace(config, lr=budget.alone_lr or config.lr)

    def alone(a: Architecture, steps: int = 0, seconds: float = 0.0) -> dict[str, Any]:
        label = f"{steps}steps" if steps else f"{seconds:.4g}s"
        key = f"alone-{data}-{config.space}-lr{by_itself.lr:g}-s{config.seed}-{a.id}-{label}"
        return cell(folder, key, lambda: trained_alone(space, a, by_itself, steps, seconds))

    first = alone(members["largest"], seconds=budget.seconds / budget.times)
    by_steps = {n: first if n == "largest" else alone(a, steps=first["steps"]) for n, a in members.items()}
    share = budget.seconds / len(members)
    by_time = {n: alone(a, seconds=share) for n, a in members.items()} if budget.same_time else {}
    truth = [alone(a, steps=first["steps"])["accuracy"] for a in ranked]
    guesses = {
        "supernet": np.array([shared["accuracy"][f"ranked{i}"] for i in range(len(ranked))]),
        "MACs": macs_of(space, ranked) if ranked else np.zeros(0),
    }
    rows = {
        "supernet": shared["accuracy"],
        "alone, same time for all": {n: found["accuracy"] for n, found in by_time.items()},
        "alone, same steps each": {n: found["accuracy"] for n, found in by_steps.items()},
    }
    rows = {row: found for row, found in rows.items() if found}
    seconds = {
        "supernet": shared["seconds"],
        "alone, same time for all": sum(found["seconds"] for found in by_time.values()),
        "alone, same steps each": sum(found["seconds"] for found in by_steps.values()),
    }
    return {
        "accuracy": {row: summary({n: v for n, v in found.items() if n in members}) for row, found in rows.items()},
        "seconds": seconds,
        "steps": {"supernet": shared["steps"], "alone": first["steps"]},
        "largest_seconds": first["seconds"],
        "tau": rank_correlations(np.array(truth), guesses, groups),
        "ranked": len(ranked),
        "spread": float(100 * np.ptp(truth)) if truth else 0.0,
    }


def run(given: argparse.Namespace) -> dict[str, Any]:
    budget = SHORT if given.short else Budget()
    asked = {name: getattr(given, name) for name in asdict(budget) if getattr(given, name) is not None}
    config = TrainConfig(space=given.space, strategy=given.strategy, seed=given.seed, lr=given.lr)
    found = quality(given.out, given.data, config, replace(budget, **asked))
    steps, once = found["steps"], found["largest_seconds"]
    print(f"accuracy, %, on {given.data}; {steps['supernet']:,} steps of the supernet, {steps['alone']:,} of each "
          f"alone; of those the largest took {once:.0f} s")  # fmt: skip
    print(f"{'':<28}" + "".join(f"{c:>10}" for c in COLUMNS) + f"{'seconds':>10}")
    for name, row in found["accuracy"].items():
        print(f"{name:<28}" + figures(row) + f"{found['seconds'][name] or float('nan'):>10.0f}")
    if found["ranked"]:
        print(f"Kendall's tau with {found['ranked']} networks trained alone (their accuracies spread over "
              f"{found['spread']:.1f} points)")  # fmt: skip
    for name, row in found["tau"].items():
        print(f"{name:<28} all {row['all']:.2f}, within nearly equal MACs {row['within']:.2f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out(parser)
    parser.add_argument("--data", choices=SOURCES, default="embedded")
    parser.add_argument("--space", default="mbv3-tiny")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--short", action="store_true", help="about five minutes; other flags still count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", default="random")
    for field, default in asdict(Budget()).items():
        flag = f"--{field.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), help=f"default {default:g}, short {asdict(SHORT)[field]:g}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results("quality", given, run(given))


if __name__ == "__main__":
    main()
