"""``nas`` by its defaults against Model Optimizer's FastNAS: ``python -m benchmarks.training.fastnas``.

One task: MobileNetV2 with ImageNet's weights (torchvision's), 8,000 images of CIFAR-10 (JPEG) at 48 px, at most 8.0
MMACs. Both sides work at once, in a process and with a thread each, so that what else the machine does meets both; the
processor time is that of everything after the imports, but for the test. Both train in batches of 64 with this
project's trainer, its fast depthwise gradients included, and see the same search split.

FastNAS: the whole network is fine-tuned, pruned by ``mtp.prune`` (its settings but for batch norm, which is
calibrated on fewer images, because that makes most of its time), and the pruned one fine-tuned; of several learning
rates the one that is best on the search split is taken, and only its time counted.

``nas``: ``train-supernet --init``, ``search --precision fp32 --max-macs 8 --objectives accuracy,macs --compare none``,
and ``finetune`` of the best, with their defaults; without evaluations on the way.

Needed beside the weights, which ``benchmarks/support/given.py`` names: ``pip install --no-deps nvidia-modelopt pulp
torchprofile==0.0.4``. Finished sides are kept in ``--out`` and not run again.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import multiprocessing
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.support.cells import ENGINE, cell, train_model
from benchmarks.support.clock import processor_seconds
from benchmarks.support.data import data_file
from benchmarks.support.given import weights_file
from benchmarks.support.image_folder import write_image_folder
from nas.candidates.candidate import Candidate
from nas.candidates.ship import EVALUATION_BATCH, measure
from nas.data.batches import calibration_images, eval_batches
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Event, Noted, Stepped
from nas.search.bounds import Bounds
from nas.search.config import SearchConfig
from nas.store.results import SearchResult
from nas.store.run import Run
from nas.tasks.classification import Classification
from nas.training.config import FinetuneConfig, TrainConfig, total_steps
from nas.training.weights import config_of, load_supernet
from nas.workflows.finetune import FinetuneResult, finetune
from nas.workflows.resolve import pick_member
from nas.workflows.search import search_run
from nas.workflows.train import train_supernet
from nas.workflows.trained import as_trained
from search_spaces.families.named import spell_out

SIDE, MACS, TRAIN_IMAGES = 48, 8.0e6, 8_000
SPACE = spell_out(f"timm:mobilenetv2_100:resolution={SIDE}")
CALIBRATION = (50, 16)
"""Batches that FastNAS calibrates batch norm on, the fewest that it takes, and their images; in the training's batches
of 64 its search takes about twice as long."""
SIDES = {"FastNAS": "model-optimizer", "nas": "nas"}


def image_folders(out: Path) -> dict[str, str]:
    """Folders of images, written once: ``work``, with some of the test images, since reports on them would cost more
    than the search does, and ``test``, with all of them; the splits for training and search are the same."""
    found = {}
    for name, tests in (("work", 500), ("test", 10_000)):
        folder, done = out / name, out / f"{name}.written"
        if not done.exists():
            write_image_folder(data_file("images/cifar10_jpeg32.npz"), folder, {"train": TRAIN_IMAGES, "test": tests})
            done.touch()
        found[name] = str(folder.resolve())
    return found


def mobilenet(weights: Path | None = None, classes: int = 10) -> nn.Module:
    """torchvision's MobileNetV2, with weights of ImageNet where they are given and a classifier that begins at 0."""
    models: Any = importlib.import_module("torchvision.models")
    model: nn.Module = models.mobilenet_v2()
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    head = nn.Linear(1280, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.get_submodule("classifier").register_module("1", head)
    return model


@torch.no_grad()
def count_macs(model: nn.Module, side: int = SIDE) -> int:
    """Multiply-accumulates of one image in convolutions and linear layers."""
    total = 0

    def add(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    model.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


def accuracy(model: nn.Module, dataset: Dataset, split: str) -> float:
    """Share of right answers; in evaluation mode, on whose beginning Model Optimizer calibrates batch norm."""
    batches = eval_batches(dataset, split, SIDE, EVALUATION_BATCH)
    return Classification().score(model.eval(), batches, "cpu").value


def prune_and_tune(given: argparse.Namespace, folders: dict[str, str], seed: int) -> dict[str, Any]:
    """FastNAS: fine-tune the whole, prune, fine-tune."""
    prune: Any = importlib.import_module("modelopt.torch.prune")
    config = TrainConfig(space=SPACE, source=folders["work"], seed=seed, epochs=given.whole_epochs, lr=given.whole_lr)
    dataset, test = open_dataset(folders["work"], seed), open_dataset(folders["test"], seed)
    whole = mobilenet(weights_file("mobilenetv2_100"))
    began = processor_seconds()
    adapted, _, _ = train_model(whole, SIDE, config, total_steps(config, dataset.info.train_images))
    seconds = {"whole": processor_seconds() - began}
    first = accuracy(adapted, dataset, "search")
    print(f"  FastNAS: whole {first:.3f}, {seconds['whole']:.0f} s", flush=True)

    plain = mobilenet()  # without what the trainer puts in place of depthwise convolutions
    plain.load_state_dict(adapted.state_dict())
    count, images = CALIBRATION
    began = processor_seconds()
    settings = {
        "data_loader": [(batch,) for batch in calibration_images(dataset, SIDE, count * images).split(images)],
        "score_func": partial(accuracy, dataset=dataset, split="search"),
        "verbose": False,
    }
    pruned, _ = prune.prune(
        model=plain, mode="fastnas", constraints={"flops": 2 * MACS}, dummy_input=torch.zeros(1, 3, SIDE, SIDE),
        config=settings,
    )  # fmt: skip
    seconds["search"] = processor_seconds() - began
    before, macs = accuracy(pruned, dataset, "search"), count_macs(pruned)
    print(f"  FastNAS: pruned {before:.3f}, {macs / 1e6:.2f} MMACs, {seconds['search']:.0f} s", flush=True)

    tuned = []
    for rate in given.pruned_lr:
        began = processor_seconds()
        settings_of = replace(config, epochs=given.pruned_epochs, lr=rate)
        steps = total_steps(settings_of, dataset.info.train_images)
        model, _, _ = train_model(copy.deepcopy(pruned), SIDE, settings_of, steps)
        spent = processor_seconds() - began
        tuned.append((accuracy(model, dataset, "search"), rate, model, spent))
        print(f"  FastNAS: fine-tuned with {rate:g} {tuned[-1][0]:.3f}, {spent:.0f} s", flush=True)
    search, rate, model, seconds["tuning"] = max(tuned, key=lambda one: one[0])
    return {
        "seconds": seconds, "macs": macs, "before": before, "search": search, "test": accuracy(model, test, "test"),
        "whole": first, "rate": rate,
        "rates": {f"{rate:g}": value for value, rate, _, _ in tuned},
    }  # fmt: skip


def search_by_defaults(given: argparse.Namespace, folders: dict[str, str], seed: int) -> dict[str, Any]:
    """``nas``: train the supernet, search, fine-tune the best."""
    run = Run(given.out / f"run-{given.epochs or 'auto'}-s{seed}")
    shutil.rmtree(run.path, ignore_errors=True)  # of a start that was stopped, whose time is not known
    config = TrainConfig(
        space=SPACE, source=folders["work"], seed=seed, epochs=given.epochs, init=str(weights_file("mobilenetv2_100"))
    )
    began, seconds = processor_seconds(), dict[str, float]()

    def tell(event: Event) -> None:
        if run.adapted.exists():
            seconds.setdefault("whole", processor_seconds() - began)
        if isinstance(event, Noted) or (isinstance(event, Stepped) and event.step % 100 == 0):
            print(f"  nas: {event}", flush=True)

    train_supernet(run, config, ENGINE, tell)
    seconds["subnets"] = processor_seconds() - began - seconds["whole"]
    began = processor_seconds()
    found = search_run(
        run,
        SearchConfig(
            "cortex-a72", "fp32", measurements=given.measurements, bounds=Bounds(macs=MACS), seed=seed,
            objectives="accuracy,macs", compare="none",
        ),
    )  # fmt: skip
    assert isinstance(found, SearchResult)
    best = pick_member(found)
    seconds["search"] = processor_seconds() - began
    print(f"  nas: best {best.accuracy.value:.3f}, {best.macs / 1e6:.2f} MMACs, {seconds['search']:.0f} s", flush=True)
    began = processor_seconds()
    tuned = finetune(run, best.id, None, FinetuneConfig(epochs=given.finetune_epochs, seed=seed), ENGINE, tell)
    assert isinstance(tuned, FinetuneResult)
    seconds["tuning"] = processor_seconds() - began

    test, kept = as_trained(run.read().data, open_dataset(folders["test"], seed)), tuned.kept == "finetuned"
    net = load_supernet(Run(Path(tuned.folder)) if kept else run)
    whole = Candidate(net.space.largest, "fp32")
    return {
        "seconds": seconds, "macs": best.macs, "before": tuned.before.value, "search": tuned.after.value,
        "test": measure(net, test, Candidate(best.architecture, "fp32"), "test").value,
        "whole": measure(load_supernet(run, adapted=True), test, whole, "search").value,
        "kept": tuned.kept, "strategy": config_of(run).strategy, "epochs": config_of(run).epochs,
    }  # fmt: skip


def run_side(side: str, given: argparse.Namespace, folders: dict[str, str], seed: int) -> None:
    """One side in this process; what it finds is a file of ``--out``."""
    torch.set_num_threads(1)
    work = prune_and_tune if side == "FastNAS" else search_by_defaults
    cell(given.out, cell_name(side, given, seed), partial(work, given, folders, seed))


def cell_name(side: str, given: argparse.Namespace, seed: int) -> str:
    """Name of the file of a side, with what decides it."""
    if side == "FastNAS":
        rates = "-".join(f"{rate:g}" for rate in (given.whole_lr, *given.pruned_lr))
        return f"{SIDES[side]}-{given.whole_epochs:g}-{given.pruned_epochs:g}-lr{rates}-s{seed}"
    epochs = "auto" if given.epochs is None else f"{given.epochs:g}"
    return f"{SIDES[side]}-{epochs}-{given.measurements}-{given.finetune_epochs:g}-s{seed}"


def describe(found: dict[str, dict[str, Any]]) -> list[str]:
    """Both sides as lines of a table, and the ratio of their times."""
    lines = ["| | test, % | search split, % | before fine-tuning | MMACs | processor s | of which |", "|---" * 7 + "|"]
    for side, row in found.items():
        parts = ", ".join(f"{name} {value:.0f}" for name, value in row["seconds"].items())
        figures = [100 * row["test"], 100 * row["search"], 100 * row["before"], row["macs"] / 1e6]
        shown = " | ".join(f"{value:.2f}" if i == 3 else f"{value:.1f}" for i, value in enumerate(figures))
        lines.append(f"| {side} | {shown} | {sum(row['seconds'].values()):.0f} | {parts} |")
    ours, theirs = (sum(found[side]["seconds"].values()) for side in ("nas", "FastNAS"))
    return [*lines, f"processor time of nas / FastNAS: {ours / theirs:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole-epochs", type=float, default=6, help="FastNAS: of the whole network")
    parser.add_argument("--whole-lr", type=float, default=0.01)
    parser.add_argument("--pruned-epochs", type=float, default=6, help="FastNAS: of the pruned network")
    parser.add_argument("--pruned-lr", type=float, nargs="+", default=[0.03])
    parser.add_argument("--epochs", type=float, help="nas: of the supernet; default: its own")
    parser.add_argument("--measurements", type=int, default=SearchConfig("").measurements)
    parser.add_argument("--finetune-epochs", type=float, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/fastnas"))
    given = parser.parse_args()
    if importlib.util.find_spec("modelopt") is None:
        sys.exit("Model Optimizer is not there: pip install --no-deps nvidia-modelopt pulp torchprofile==0.0.4")
    weights_file("mobilenetv2_100")
    os.environ["OMP_NUM_THREADS"] = "1"
    given.out.mkdir(parents=True, exist_ok=True)
    folders = image_folders(given.out)
    begin = multiprocessing.get_context("spawn").Process
    for seed in given.seeds:
        processes = [begin(target=run_side, args=(side, given, folders, seed)) for side in SIDES]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            sys.exit(1)
        found = {side: cell(given.out, cell_name(side, given, seed), dict) for side in SIDES}
        print("\n".join([f"seed {seed}", *describe(found)]))


if __name__ == "__main__":
    main()
