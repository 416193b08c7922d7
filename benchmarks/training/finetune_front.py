"""A front fine-tuned by neighbours against members fine-tuned alone: ``python -m benchmarks.training.finetune_front``.

Of the supernets of ``benchmarks.training.finetune_rates``: some random subnets, trained further each from the supernet,
or from the larger neighbour where that is better, as ``nas finetune all`` does it; at the same steps, and alone for
four times as many. Accuracies are those of the search and test splits together. Every finished training stays in
``--out``: the same command continues where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from benchmarks.support.cells import ENGINE, family, measured
from benchmarks.support.results import write_results
from benchmarks.training.finetune_rates import add_start, train_start
from nas.candidates.candidate import Candidate
from nas.events import ignore
from nas.training.config import FinetuneConfig
from nas.workflows.finetune import plan_training, train_further
from nas.workflows.finetune_front import choose_start
from nas.workflows.trained import Trained
from predictors.costs.network import total_macs
from predictors.costs.tables import CostTables


def tune_alone(supernet: Trained, members: Iterable[Candidate], config: FinetuneConfig) -> list[float]:
    """Accuracies, %, of members that all start from the supernet's weights."""
    tuned = (train_further(plan_training(supernet, each, config), ENGINE, ignore) for each in members)
    return [100 * measured(t, each.architecture).value for t, each in zip(tuned, members, strict=True)]


def tune_together(supernet: Trained, members: Iterable[Candidate], config: FinetuneConfig) -> tuple[list[float], int]:
    """Accuracies, %, of members from the largest to the smallest, and how many started from their neighbour."""
    neighbour: tuple[str, Trained] | None = None
    found, from_neighbour = [], 0
    for each in members:
        training = choose_start(supernet, each, config, neighbour, ignore)
        from_neighbour += training.origin.neighbour is not None
        neighbour = each.id, train_further(training, ENGINE, ignore)
        found.append(100 * measured(neighbour[1], each.architecture).value)
    return found, from_neighbour


def run(given: argparse.Namespace) -> dict[str, Any]:
    title, supernet = train_start(given)
    space = supernet.space
    drawn = [a for name, a in family(space, given.members, given.seed).items() if name not in ("smallest", "middle")]
    vectors = np.stack([space.encode(architecture) for architecture in drawn])
    macs = total_macs(CostTables(space, supernet.dataset.interface).features(vectors))
    members = [Candidate(drawn[i], "fp32") for i in np.argsort(-macs)]

    def settings(times: float) -> FinetuneConfig:
        return FinetuneConfig(epochs=times * given.epochs, lr=given.lr, teacher=given.teacher)

    rows = {"before": [100 * measured(supernet, each.architecture).value for each in members]}
    rows["alone"] = tune_alone(supernet, members, settings(1))
    rows["by neighbours"], count = tune_together(supernet, members, settings(1))
    rows["alone, 4 times the steps"] = tune_alone(supernet, members, settings(4))
    print(f"{title}: accuracy, %, of {len(members)} members by falling MACs, {given.epochs:g} epochs each; "
          f"{count} started from their neighbour")  # fmt: skip
    for name, row in rows.items():
        print(f"{name:<26}" + "".join(f"{value:>7.1f}" for value in row) + f"   mean {np.mean(row):.2f}")
    return {**rows, "from_neighbour": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_start(parser)
    parser.add_argument("--members", type=int, default=6, help="random subnets beside the largest")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--teacher", default="auto")
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results("finetune_front", given, run(given))


if __name__ == "__main__":
    main()
