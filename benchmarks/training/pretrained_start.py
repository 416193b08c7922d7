"""A supernet from pretrained weights against fine-tuning: ``python -m benchmarks.training.pretrained_start``.

One command trains the supernet (strategy teacher-first, its defaults but for the epochs). Its first part is plain
fine-tuning of the whole network, bit for bit (``tests/training/test_teacher_first.py``), and is kept as
``adapted.safetensors``: so both stand in one run, with their processor time. Measured on the search and test splits
together, which no training step has seen: the whole as it was fine-tuned, and of the supernet the largest, the watched,
ten random ones and the smallest, each with batch norm calibrated for it. Finished seeds are not trained again.

Where the weights come from: ``benchmarks/support/given.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.cells import cell, measured
from benchmarks.support.given import add_start, start_of
from nas.events import Event, Stepped
from nas.store.run import Run
from nas.training.config import Resources, TrainConfig, total_steps
from nas.training.weights import load_supernet, pick_watched
from nas.workflows.train import train_supernet
from nas.workflows.trained import open_trained

ROWS = ("whole, fine-tuned", "largest", "watched", "mean of ten random", "smallest")
RANDOM = 10


def trained(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Train, and measure what :data:`ROWS` names; with the processor time of both parts."""
    run, began = Run(folder), time.process_time()
    parts: dict[str, float] = {}

    def report(event: Event) -> None:
        if isinstance(event, Stepped) and event.step % 100 == 0:
            print(f"  step {event.step}/{event.steps}, loss {event.loss:.3f}", file=sys.stderr, flush=True)
        if run.adapted.exists():
            parts.setdefault("first", time.process_time() - began)

    train_supernet(run, config, Resources(workers=0, save_seconds=1e9, evaluations=1), report)
    parts["all"] = time.process_time() - began
    done = open_trained(run)
    space = done.space
    whole = replace(done, net=load_supernet(run, adapted=True))
    drawn = [space.decode(vector) for vector in space.sample(np.random.default_rng([0, 7]), RANDOM)]
    values = (
        measured(whole, space.largest).value,
        measured(done, space.largest).value,
        measured(done, pick_watched(space, 0)["random"]).value,
        float(np.mean([measured(done, architecture).value for architecture in drawn])),
        measured(done, space.smallest).value,
    )
    steps = total_steps(config, done.dataset.info.train_images)
    return {"seconds": parts, "steps": steps, "accuracy": dict(zip(ROWS, values, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_start(parser, "tf_efficientnet_lite0", [64], adapting=8, epochs=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/pretrained_start"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in given.seeds:
        name, config = start_of(given, seed)
        found.append(cell(given.out, name, partial(trained, given.out / name, config)))
    print(f"{name}, {found[0]['steps']} steps: accuracy, %")
    print(f"{'seed':<22}" + "".join(f"{seed:>8}" for seed in given.seeds) + f"{'mean':>8}")
    for row in ROWS:
        values = [100 * each["accuracy"][row] for each in found]
        print(f"{row:<22}" + "".join(f"{value:>8.1f}" for value in [*values, float(np.mean(values))]))
    ratios = [each["seconds"]["all"] / each["seconds"]["first"] for each in found]
    print(f"{'cost / fine-tuning':<22}" + "".join(f"{value:>8.2f}" for value in [*ratios, float(np.mean(ratios))]))


if __name__ == "__main__":
    main()
