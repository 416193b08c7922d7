"""Training from random weights in an earlier checkout and in this one:
``python -m benchmarks.training.before_after CHECKOUT``.

Each side runs its own ``nas train-supernet`` with its defaults, so with the strategy that ``auto`` chooses, on the same
images, steps and seeds, in turn. The folder has a search split of its own, for versions draw it differently, and images
are normalised by the first 2,000 on both sides, as earlier versions did. The faster gradient of depthwise convolutions,
which rounds differently in every version, is off on both sides; ``--faster`` leaves it on. This checkout compares the
weights and measures both supernets on the search and test splits together: the smallest, the mean of ten random and the
largest subnet, with batch norm calibrated for each. The earlier checkout must write runs that this one opens. Finished
runs are not trained again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.support.cells import cell, measured
from benchmarks.support.given import images_folder
from benchmarks.training.pretrained_start import RANDOM
from nas.store.run import Run
from nas.workflows.trained import open_trained

HERE = Path(__file__).resolve().parents[2]
COLUMNS = ("smallest", f"mean of {RANDOM} random", "largest")
TEST = 2_000
"""Test images."""
SEARCH = 10
"""One image of a class in this many is in the search split."""
DRIVER = """
import runpy, sys
try:
    from nas.supernet import depthwise
except ImportError:
    from nas import depthwise
if sys.argv.pop(1) == "torch":
    depthwise.FASTER_HERE = depthwise._HERE = False
try:
    from nas.data import statistics
    measure = statistics.statistics
    statistics.statistics = lambda images, numbers, facts=None: measure(images, numbers)
except ImportError:
    pass
sys.argv[0] = "cli.py"
runpy.run_path("cli.py", run_name="__main__")
"""
"""Runs a checkout's command with or without the faster gradient, and with statistics of the first images; names of
today's and of an earlier version."""


def hold_out(folder: Path) -> None:
    """Give a folder without a search split one, out of its training images; once."""
    done = folder.with_name(f"{folder.name}.held-out")
    if done.exists():
        return
    for each in sorted((folder / "train").iterdir()):
        (folder / "val" / each.name).mkdir(parents=True, exist_ok=True)
        for image in sorted(each.iterdir())[::SEARCH]:
            image.rename(folder / "val" / each.name / image.name)
    done.touch()


def trained(checkout: Path, folder: Path, data: Path, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train by the command of a checkout, resuming where it was stopped, and measure here."""
    command = [
        sys.executable,
        "-c",
        DRIVER,
        "faster" if given.faster else "torch",
        "train-supernet",
        "--data",
        str(data),
    ]
    command += ["--space", given.space, "--epochs", f"{given.epochs:g}", "--seed", str(seed), "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, cwd=checkout, check=True)
    done = open_trained(Run(folder))
    drawn = [done.space.decode(each) for each in done.space.sample(np.random.default_rng([0, 7]), RANDOM)]
    return {
        "smallest": measured(done, done.space.smallest).value,
        COLUMNS[1]: float(np.mean([measured(done, architecture).value for architecture in drawn])),
        "largest": measured(done, done.space.largest).value,
    }


def difference(one: Path, other: Path) -> float:
    """Largest difference of two supernets' weights."""
    here, there = (load_file(each / "supernet.safetensors") for each in (one, other))
    assert here.keys() == there.keys()
    return max(float((here[name].double() - there[name].double()).abs().max()) for name in here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, metavar="CHECKOUT", help="an earlier version of this repository")
    parser.add_argument("--images", default="cifar10", choices=("cifar10", "fashion"))
    parser.add_argument("--most", type=int, default=20_000, help="training images")
    parser.add_argument("--space", default="mbv3-tiny")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--faster", action="store_true", help="leave the faster gradient of depthwise convolutions on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/before_after"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = images_folder(given.out, given.images, given.most, TEST)
    hold_out(data)
    way = "faster" if given.faster else "torch"
    found: dict[str, list[dict[str, Any]]] = {}
    apart = []
    for seed in given.seeds:
        runs = []
        for side, checkout in (("before", given.before.resolve()), ("now", HERE)):
            name = f"{data.name}-{given.space}-{given.epochs:g}-{way}-{side}-s{seed}"
            runs.append((given.out / name).resolve())
            work = partial(trained, checkout, runs[-1], data, given, seed)
            found.setdefault(side, []).append(cell(given.out, name, work))
        apart.append(difference(*runs))
    print(f"{data.name}, {given.space}, {given.epochs:g} epochs, gradient of depthwise convolutions: {way}")
    print("largest difference of weights, by seed: " + ", ".join(f"{each:g}" for each in apart))
    print("accuracy, %")
    print("| | seed | " + " | ".join(COLUMNS) + " |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for side, rows in found.items():
        for seed, row in zip(given.seeds, rows, strict=True):
            print(f"| {side} | {seed} | " + " | ".join(f"{100 * row[name]:.1f}" for name in COLUMNS) + " |")
        means = [100 * float(np.mean([row[name] for row in rows])) for name in COLUMNS]
        print(f"| {side} | mean | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
