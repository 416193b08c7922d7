"""Training from random weights in an earlier checkout and in this one:
``python -m benchmarks.training.before_after CHECKOUT``.

Each side runs its own ``nas train-supernet`` with its defaults, so with the strategy that ``auto`` chooses, on the
same data, steps and seeds, in turn. This checkout measures both: of the run's supernet the smallest, the mean of ten
random and the largest subnet, with batch norm calibrated for each, on the search and test splits together, which no
training step has seen. The earlier one has to write runs that this one opens. Finished runs are not trained again.
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

from benchmarks.support.cells import cell, measured
from benchmarks.support.given import images_folder
from benchmarks.training.pretrained_start import RANDOM
from nas.store.run import Run
from nas.workflows.trained import open_trained

HERE = Path(__file__).resolve().parents[2]
COLUMNS = ("smallest", f"mean of {RANDOM} random", "largest")
TEST = 2_000
"""Test images."""


def trained(checkout: Path, folder: Path, data: Path, space: str, epochs: float, seed: int) -> dict[str, Any]:
    """Train by the command of a checkout, resuming where it was stopped, and measure here."""
    command = [sys.executable, str(checkout / "cli.py"), "train-supernet", "--out", str(folder)]
    command += ["--data", str(data), "--space", space, "--epochs", f"{epochs:g}", "--seed", str(seed)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, cwd=checkout, check=True)
    done = open_trained(Run(folder))
    drawn = [done.space.decode(each) for each in done.space.sample(np.random.default_rng([0, 7]), RANDOM)]
    return {
        "smallest": measured(done, done.space.smallest).value,
        COLUMNS[1]: float(np.mean([measured(done, architecture).value for architecture in drawn])),
        "largest": measured(done, done.space.largest).value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, metavar="CHECKOUT", help="an earlier version of this repository")
    parser.add_argument("--images", default="cifar10", choices=("cifar10", "fashion"))
    parser.add_argument("--most", type=int, default=20_000, help="training images")
    parser.add_argument("--space", default="mbv3-tiny")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/before_after"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = images_folder(given.out, given.images, given.most, TEST)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in given.seeds:
        for side, checkout in (("before", given.before.resolve()), ("now", HERE)):
            name = f"{data.name}-{given.space}-{given.epochs:g}-{side}-s{seed}"
            run = (given.out / name).resolve()
            work = partial(trained, checkout, run, data, given.space, given.epochs, seed)
            found.setdefault(side, []).append(cell(given.out, name, work))
    print(f"{data.name}, {given.space}, {given.epochs:g} epochs: accuracy, %")
    print("| | seed | " + " | ".join(COLUMNS) + " |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for side, rows in found.items():
        for seed, row in zip(given.seeds, rows, strict=True):
            print(f"| {side} | {seed} | " + " | ".join(f"{100 * row[name]:.1f}" for name in COLUMNS) + " |")
        means = [100 * float(np.mean([row[name] for row in rows])) for name in COLUMNS]
        print(f"| {side} | mean | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
