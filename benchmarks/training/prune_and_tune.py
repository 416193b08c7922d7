"""A supernet's front against cutting and tuning each network alone: ``python -m benchmarks.training.prune_and_tune``.

Both sides begin with the same adapted whole. Some members of a front are then had twice:

* cut and tuned: each takes its channels, in the order of their Taylor importance, and blocks from the adapted whole,
  and is trained alone from the labels, as a person does with a pruned network;
* shared: the subnets of the supernet are trained together (the second part of strategy teacher-first), and then the
  front is fine-tuned on one budget, its members in turn, as ``nas finetune all --budget`` does it.

Counted is processor time after the adapted whole, which both need: on one side the trainings of all members, on the
other the second part of the training and the fine-tuning. The search that chose the members is counted on neither
side. A supernet that ``pretrained_start`` left in the same ``--out`` is taken as it is. Accuracies are those of the
search and test splits together, which no training step has seen. What is finished is kept in ``--out``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.cells import ENGINE, cell, measured
from benchmarks.support.clock import processor_seconds
from benchmarks.support.given import add_start, start_of
from benchmarks.training.pretrained_start import trained
from nas.candidates.candidate import Candidate
from nas.events import Event, Noted, ignore
from nas.journal.journal import SEARCH
from nas.search.config import SearchConfig
from nas.store.results import SearchResult
from nas.store.run import Run, file_hash
from nas.training.adaptation import order_by_loss
from nas.training.config import FinetuneConfig
from nas.training.weights import config_of, load_supernet, save_weights
from nas.workflows.finetune import plan_training, ships_tuned, train_further
from nas.workflows.finetune_front import candidate_of, plan_front
from nas.workflows.search import search_run
from nas.workflows.trained import open_trained

Row = dict[str, Any]


def tell(event: Event) -> None:
    if isinstance(event, Noted):
        print(f"  {event.text}", flush=True)


def cut_from(run: Run) -> Run:
    """A run beside that one whose supernet is the adapted whole with its channels ordered: what subnets are cut from
    before any of them was trained."""
    cut = Run(run.path / "cut")
    if not cut.supernet.exists():
        supernet = open_trained(run)
        net = load_supernet(run, adapted=True)
        order_by_loss(net, supernet.dataset)
        cut.path.mkdir(exist_ok=True)
        save_weights(cut.supernet, net.model.state_dict(), config_of(run), supernet.dataset, 0)
        cut.write(replace(run.read(), weights=file_hash(cut.supernet)))
    return cut


def members_of(run: Run, given: argparse.Namespace, seed: int) -> list[Candidate]:
    """Members of a front of accuracy and MACs, evenly spread over it, from the largest."""
    config = SearchConfig(
        "cortex-a72", "fp32", measurements=given.measurements, seed=seed, objectives="accuracy,macs", compare="none"
    )
    found = search_run(run, config, tell)
    assert isinstance(found, SearchResult)
    front = sorted(found.front, key=lambda member: -member.macs)
    places = np.unique(np.linspace(0, len(front) - 1, min(given.members, len(front))).round().astype(int))
    return [candidate_of(front[place]) for place in places]


def tune_alone(run: Run, member: Candidate, config: FinetuneConfig) -> Row:
    """One member, cut from the adapted whole and trained alone."""
    supernet = open_trained(cut_from(run))
    before, began = measured(supernet, member.architecture).value, processor_seconds()
    after = train_further(plan_training(supernet, member, config), ENGINE, ignore)
    seconds = processor_seconds() - began
    return {"before": before, "after": measured(after, member.architecture).value, "seconds": seconds}


def tune_together(run: Run, members: list[Candidate], config: FinetuneConfig) -> Row:
    """All members, fine-tuned in turn; of each the weights that ship."""
    supernet, began = open_trained(run), processor_seconds()
    after = train_further(plan_front(supernet, members, config), ENGINE, ignore)
    seconds = processor_seconds() - began
    rows: list[Row] = []
    for member in members:
        better = ships_tuned(supernet.recall(member, SEARCH)[0], after.recall(member, SEARCH)[0])
        tuned = measured(after, member.architecture).value
        shared = measured(supernet, member.architecture).value
        rows.append({"before": shared, "after": tuned if better else shared})
    return {"members": rows, "seconds": seconds}


def run_seed(given: argparse.Namespace, seed: int) -> None:
    """Train what is not trained yet, and print the table of a seed."""
    name, config = start_of(given, seed)
    run = Run(given.out / name)
    start = cell(given.out, name, partial(trained, run.path, config))
    chosen = members_of(run, given, seed)
    for budget in given.budgets:
        each = FinetuneConfig(epochs=budget / len(chosen), lr=given.lr_shared, seed=seed)
        rate = "" if given.lr_shared is None else f"-lr{given.lr_shared:g}"
        title = f"{name}-{given.measurements}-{len(chosen)}-budget{budget:g}{rate}"
        together = cell(given.out, title, partial(tune_together, run, chosen, each))
        shared = start["seconds"]["all"] - start["seconds"]["first"]
        values = [row["after"] for row in together["members"]]
        before = [row["before"] for row in together["members"]]
        print(
            f"supernet, {budget:g} epochs for all: {_mean(before)} before, {_mean(values)} after; "
            f"{shared:.0f} + {together['seconds']:.0f} s; {_each(values)}"
        )
    alone = FinetuneConfig(epochs=given.alone_epochs, lr=given.lr_alone, teacher=given.teacher_alone, seed=seed)
    rows = []
    # a run that is stopped has members of all sizes; the largest, of which nothing is cut, comes last
    spread = sorted(range(len(chosen)), key=lambda i: (i == 0, i % 2, i))
    for i in spread:
        title = f"{name}-cut-{chosen[i].id}-{given.alone_epochs:g}-lr{given.lr_alone:g}-{given.teacher_alone}"
        rows.append(cell(given.out, title, partial(tune_alone, run, chosen[i], alone)))
        print(f"  {chosen[i].id}: {100 * rows[-1]['before']:.1f} cut, {100 * rows[-1]['after']:.1f} tuned", flush=True)
    rows = [rows[spread.index(i)] for i in range(len(chosen))]
    values = [row["after"] for row in rows]
    total, whole = sum(row["seconds"] for row in rows), start["seconds"]["first"]
    before = [row["before"] for row in rows]
    print(f"cut and tuned alone: {_mean(before)} before, {_mean(values)} after; {total:.0f} s; {_each(values)}")
    print(f"the adapted whole: {100 * start['accuracy']['whole, fine-tuned']:.1f}, {whole:.0f} s")


def _mean(values: list[float]) -> str:
    return f"{100 * float(np.mean(values)):.2f} %"


def _each(values: list[float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_start(parser, "tf_efficientnet_lite0", [64], adapting=8, epochs=24)
    parser.add_argument("--measurements", type=int, default=SearchConfig("").measurements)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--budgets", type=float, nargs="+", default=[5], help="epochs for all members together")
    parser.add_argument("--lr-shared", type=float, help="of nas finetune; default: its own")
    parser.add_argument("--alone-epochs", type=float, default=8)
    parser.add_argument("--lr-alone", type=float, default=0.02)
    parser.add_argument("--teacher-alone", default="none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/prune_and_tune"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        run_seed(given, seed)


if __name__ == "__main__":
    main()
