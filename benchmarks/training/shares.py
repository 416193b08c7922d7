"""What a training run spends its processor time on: ``python -m benchmarks.training.shares``.

Seconds of a step on one random subnet, of loading its batch (in this process, or in a process of its own), and of an
evaluation on the way; and what share of a run of so many epochs each is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.support.clock import processor_seconds
from benchmarks.support.data import data_file
from benchmarks.support.image_folder import write_image_folder
from benchmarks.support.results import add_out, write_results
from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.training.config import Resources, TrainConfig
from nas.training.rehearsal.rehearsal import Rehearsal
from nas.training.weights import evaluate_watched, pick_watched

CLOTHING = "images/clothing10_jpeg64.npz"
LOADED = 400  # batches: few would drown in what one costs, such as decoding all small images


def loading(dataset: Dataset, config: TrainConfig, size: int, workers: int) -> float:
    """Seconds a batch, without what one batch alone costs: the start of a process, decoding all small images."""
    taken = []
    for count in (1, 1 + LOADED):
        began = processor_seconds()
        for _ in train_batches(dataset, config.batch_size, 0, 0, count, size, config.augment, workers):
            pass
        taken.append(processor_seconds() - began)
    return (taken[1] - taken[0]) / LOADED


def measure(config: TrainConfig, steps: int) -> dict[str, float]:
    """Seconds of each part, once."""
    dataset = open_dataset(config.source, config.seed)
    rehearsal = Rehearsal(config, dataset, Resources(workers=0))
    net = rehearsal.net
    size = net.space.largest.resolution
    for batch in rehearsal.batches(1):
        for step in range(3):
            rehearsal.step(step, batch)
        began = time.process_time()
        for step in range(3, 3 + steps):
            rehearsal.step(step, batch)
        step_seconds = (time.process_time() - began) / steps
    watched = pick_watched(net.space, config.seed)
    evaluate_watched(net, {}, dataset, watched)  # decodes the images, which are then held
    began = time.process_time()
    evaluate_watched(net, {}, dataset, watched)
    evaluation = time.process_time() - began
    found = {f"load_{n}": loading(dataset, config, size, n) for n in (0, 1)}
    return {"step": step_seconds, "evaluation": evaluation, "steps": rehearsal.steps, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="timm:tf_efficientnet_lite0")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="that are timed")
    add_out(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    evaluations = Resources().evaluations
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        write_image_folder(data_file(CLOTHING), photos)
        for name, source, side, augment in (
            ("clothing, photos", str(photos), 64, "auto"),
            ("embedded, in memory", "embedded", 32, "none"),
        ):
            config = TrainConfig(
                space=f"{given.model}:resolution={side}", source=source, augment=augment, strategy="random",
                epochs=given.epochs, batch_size=given.batch_size,
            )  # fmt: skip
            row = rows[name] = measure(config, given.steps)
            whole = row["steps"] * (row["step"] + row["load_0"]) + evaluations * row["evaluation"]
            print(f"{name}, {side} px: {row['steps']:.0f} steps of {1e3 * row['step']:.0f} ms, {whole:.0f} s")
            print(f"  loading a batch: {1e3 * row['load_0']:.1f} ms here, {1e3 * row['load_1']:.1f} ms in a process; "
                  f"{row['steps'] * row['load_0'] / whole:.1%} of the run")  # fmt: skip
            print(f"  {evaluations} evaluations of {row['evaluation']:.1f} s: "
                  f"{evaluations * row['evaluation'] / whole:.1%} of the run", flush=True)  # fmt: skip
    write_results("shares", given, rows)


if __name__ == "__main__":
    main()
