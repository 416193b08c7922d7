"""A large network cut down against its smaller relatives: ``python -m benchmarks.training.zoo``.

What a person with a latency to keep would do without a search is to take the next smaller network of the family. So a
supernet from EfficientNet-Lite2's weights, with smaller images among its choices, is searched on a device at the
latencies that Lite0 and Lite1 have at full size (int8, the same latency model), and the best subnet of each bound is
fine-tuned as ``nas finetune`` does it. Lite0 and Lite1 are fine-tuned from their own weights for as many steps in all:
those of the whole, of its subnets and of the fine-tuning. All are quantized in the same way, and measured on the search
and the test split, which no training step has seen; the subnets were chosen on the search split, so the test split
alone is the fairer one.

A search without a bound shows whether the front lies above the whole at lower resolutions, as it was tuned for two
epochs at each. What is finished is kept in ``--out``. The weights: ``benchmarks/support/given.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.support.cells import ENGINE, cell
from benchmarks.support.clock import processor_seconds
from benchmarks.support.given import add_start, start_of, weights_file
from nas.candidates.candidate import Candidate
from nas.data.dataset import interface_of
from nas.events import Event, Noted, Stepped
from nas.search.bounds import Bounds
from nas.search.config import SearchConfig
from nas.search.costs import CandidateCosts
from nas.search.objectives import LATENCY
from nas.search.outcome import record_accuracy
from nas.store.records import DataInfo
from nas.store.results import AccuracyRecord, Member, SearchResult
from nas.store.run import Run
from nas.training.config import FinetuneConfig, TrainConfig
from nas.workflows.finetune import FinetuneResult, finetune
from nas.workflows.resolve import pick_member
from nas.workflows.search import search_run
from nas.workflows.train import train_supernet
from nas.workflows.trained import open_trained
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.families.named import spell_out

PRECISION = "int8"
Row = dict[str, Any]


def tell(event: Event) -> None:
    if isinstance(event, Noted):
        print(f"  {event.text}", flush=True)
    elif isinstance(event, Stepped) and event.step % 100 == 0:
        print(f"  step {event.step}/{event.steps}, loss {event.loss:.3f}", flush=True)


def train(folder: Path, config: TrainConfig) -> Row:
    """Train a run; with its processor time."""
    began = processor_seconds()
    train_supernet(Run(folder), config, ENGINE, tell)
    return {"seconds": processor_seconds() - began}


def fine_tuned(folder: Path, config: TrainConfig, target: str) -> Row:
    """A whole network fine-tuned alone, as it would be shipped."""
    seconds = train(folder, config)["seconds"]
    done = open_trained(Run(folder))
    whole = Candidate(done.space.largest, PRECISION)
    scores = {split: done.recall(whole, split)[0] for split in ("search", "test")}
    costs = done.costs(load_target(target), PRECISION)
    vector = costs.candidates.vectors([whole])
    return {
        "seconds": seconds, "latency_ms": float(costs.column(LATENCY.name, vector)[0]),
        "macs": costs.exact(vector[0]).macs,
        **{split: _counts(record_accuracy(score)) for split, score in scores.items()},
    }  # fmt: skip


def search(run: Run, target: str, bound: float | None, measurements: int, seed: int) -> SearchResult:
    """The front of a run on a device, within a latency."""
    bounds = Bounds(latency_ms=bound)
    config = SearchConfig(
        target, PRECISION, measurements=measurements, bounds=bounds, seed=seed, objectives="accuracy,latency",
        compare="none",
    )  # fmt: skip
    found = search_run(run, config, tell)
    assert isinstance(found, SearchResult)
    return found


def unbounded(run: Run, target: str, measurements: int, seed: int) -> Row:
    """The front and the whole at each resolution, a row each: ms, MMACs, and right answers on both splits."""
    began = processor_seconds()
    found = search(run, target, None, measurements, seed)
    return {
        "seconds": processor_seconds() - began,
        "front": [_row(member) for member in found.front],
        "whole": [_row(member) | {"px": member.architecture.resolution} for member in found.whole or ()],
    }


def best_within(run: Run, target: str, bound: float, given: argparse.Namespace, seed: int) -> Row:
    """The most accurate subnet within a latency, before and after it was fine-tuned."""
    began = processor_seconds()
    best = pick_member(search(run, target, bound, given.within, seed))
    searched = processor_seconds() - began
    began = processor_seconds()
    config = FinetuneConfig(epochs=given.finetune_epochs, lr=given.finetune_lr, seed=seed)
    tuned = finetune(run, best.id, None, config, ENGINE, tell)
    assert isinstance(tuned, FinetuneResult)
    kept = tuned.after if tuned.kept == "finetuned" else tuned.before
    return {
        "search_seconds": searched, "tuning_seconds": processor_seconds() - began, "id": best.id,
        "px": best.architecture.resolution, **_row(best), "before": _row(best), "kept": tuned.kept,
        "search": _counts(kept), "test": _counts(tuned.test),
    }  # fmt: skip


def _row(member: Member) -> Row:
    return {
        "latency_ms": member.latency_ms, "macs": member.macs, "search": _counts(member.accuracy),
        "test": _counts(member.test),
    }  # fmt: skip


def _counts(record: AccuracyRecord) -> dict[str, int]:
    return {"correct": record.correct, "images": record.images}


def latency_of(model: str, side: int, target: str, data: DataInfo) -> float:
    """Latency, ms, of a network of timm's on images of a side, in int8."""
    space = get_space(f"timm:{model}:resolution={side}")
    costs = CandidateCosts(space, CostTables(space, interface_of(data)), load_target(target), PRECISION)
    return float(costs.column(LATENCY.name, costs.candidates.vectors([Candidate(space.largest, PRECISION)]))[0])


def percent(row: Row, *splits: str) -> float:
    """Accuracy, %, on splits together."""
    correct, images = (sum(int(row[split][what]) for split in splits) for what in ("correct", "images"))
    return 100 * correct / images


def run_seed(given: argparse.Namespace, seed: int) -> Row:
    """All figures of a seed."""
    name, config = start_of(given, seed)
    config = replace(config, space=spell_out(config.space))
    side, run = max(given.resolution), Run(given.out / name)
    found: Row = {"supernet": cell(given.out, name, partial(train, run.path, config))}
    count = f"{given.target}-{given.measurements}"
    found["all"] = cell(given.out, f"{name}-{count}", partial(unbounded, run, given.target, given.measurements, seed))
    steps = given.epochs + given.finetune_epochs
    for model in given.against:
        bound = latency_of(model, side, given.target, run.read().data)
        tuning = f"{given.finetune_epochs:g}" + ("" if given.finetune_lr is None else f"-lr{given.finetune_lr:g}")
        ours = partial(best_within, run, given.target, bound, given, seed)
        found[f"subnet at {model}'s latency"] = cell(given.out, f"{name}-{count}-{given.within}-{model}-{tuning}", ours)
        alone = replace(
            config, space=f"timm:{model}:resolution={side}", init=str(weights_file(model).resolve()), epochs=steps,
            adapt_share=1.0,
        )  # fmt: skip
        folder = f"{model}-{side}px-{steps:g}-s{seed}"
        found[model] = cell(given.out, folder, partial(fine_tuned, given.out / folder, alone, given.target))
    return found


def describe(found: Row, model: str) -> list[str]:
    """The tables of a seed."""
    lines = [f"| | {PRECISION} ms | MMACs | search and test, % | test, % | search, % | processor s |", "|---" * 7 + "|"]
    for name, row in found.items():
        if name in ("supernet", "all"):
            continue
        seconds = row.get("seconds", row.get("tuning_seconds"))
        values = (percent(row, "search", "test"), percent(row, "test"), percent(row, "search"))
        figures = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {row['latency_ms']:.3f} | {row['macs'] / 1e6:.1f} | {figures} | {seconds:.0f} |")
        if "before" in row:
            before = row["before"]
            values = (percent(before, "search", "test"), percent(before, "test"), percent(before, "search"))
            figures = " | ".join(f"{value:.1f}" for value in values)
            lines.append(f"| ({row['px']} px, before fine-tuning) | | | {figures} | {row['search_seconds']:.0f} |")
    everything = found["all"]
    lines += [f"supernet: {found['supernet']['seconds']:.0f} s; search without a bound: {everything['seconds']:.0f} s"]
    lines += [
        "", f"| {model} at | {PRECISION} ms | search and test, % | search, % | front at no more latency | ms |",
        "|---" * 6 + "|",
    ]  # fmt: skip
    for row in everything["whole"]:
        within = [each for each in everything["front"] if each["latency_ms"] <= row["latency_ms"] * 1.0001]
        best = max(within, key=lambda each: percent(each, "search"), default=None)
        ours = "" if best is None else f"{percent(best, 'search', 'test'):.1f} ({percent(best, 'search'):.1f})"
        ms = "" if best is None else f"{best['latency_ms']:.3f}"
        lines.append(
            f"| {row['px']} px | {row['latency_ms']:.3f} | {percent(row, 'search', 'test'):.1f} | "
            f"{percent(row, 'search'):.1f} | {ours} | {ms} |"
        )
    lines += ["", "front: ms, search and test, %"]
    lines += [f"{each['latency_ms']:8.3f} {percent(each, 'search', 'test'):6.1f}" for each in everything["front"]]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_start(parser, "tf_efficientnet_lite2", [48, 56, 64], adapting=8, epochs=24)
    parser.add_argument("--against", nargs="+", default=["tf_efficientnet_lite0", "tf_efficientnet_lite1"])
    parser.add_argument("--target", default="cortex-a72")
    parser.add_argument("--measurements", type=int, default=SearchConfig("").measurements)
    parser.add_argument("--within", type=int, default=20, help="further measurements within each latency")
    parser.add_argument("--finetune-epochs", type=float, default=5)
    parser.add_argument("--finetune-lr", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/zoo"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        print("\n".join([f"seed {seed}", *describe(run_seed(given, seed), given.model)]), flush=True)


if __name__ == "__main__":
    main()
