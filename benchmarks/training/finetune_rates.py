"""Learning rates of ``nas finetune``, with and without a teacher: ``python -m benchmarks.training.finetune_rates``.

For a supernet from scratch and one from ImageNet weights: one subnet (the middle of the space, or the largest) is
trained further at several peak rates, from the labels alone and with a teacher (the adapted whole, or the largest),
and measured on the search and test splits together. ``--runs`` takes trained runs instead. Every training is kept in
``--out``, or in the run: the same command continues where it stopped. Where the weights come from:
``benchmarks/support/given.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.support.cells import ENGINE, measured, middle
from benchmarks.support.data import data_file
from benchmarks.support.given import weights_file
from benchmarks.support.image_folder import write_image_folder
from benchmarks.support.results import add_out, write_results
from nas.candidates.candidate import Candidate
from nas.events import ignore
from nas.store.run import Run
from nas.training.config import FinetuneConfig, TrainConfig
from nas.workflows.finetune import plan_training, train_further
from nas.workflows.train import train_supernet
from nas.workflows.trained import Trained, open_trained

IMAGES = {"cifar10": ("images/cifar10_jpeg32.npz", 4000), "clothing": ("images/clothing10_jpeg64.npz", None)}
"""File of each data set, and how many images of each split are used."""
STARTS = {
    "scratch": TrainConfig(space="mbv3-tiny", epochs=24, batch_size=32, lr=0.1),
    "pretrained": TrainConfig(space="timm:mobilenetv2_100:resolution=48", epochs=6, batch_size=32, lr=0.01),
}


def images_of(folder: Path, data: str) -> str:
    """The folder of a data set, written once."""
    name, most = IMAGES[data]
    out, done = folder / data, folder / f"{data}.written"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_image_folder(data_file(name), out, most)
        done.touch()
    return str(out.resolve())


def train_start(given: argparse.Namespace) -> tuple[str, Trained]:
    """The supernet of a start on a data set, trained once, and what to call it."""
    config = replace(STARTS[given.start], source=images_of(given.out, given.data), seed=given.seed)
    if given.start == "pretrained":
        config = replace(config, init=str(weights_file("mobilenetv2_100").resolve()))
    title = f"{given.start}-{given.data}-s{given.seed}"
    home = Run(given.out / title)
    train_supernet(home, config, ENGINE)
    return title, open_trained(home)


def tuned_at(title: str, supernet: Trained, given: argparse.Namespace) -> dict[str, float]:
    """Accuracies, %, of a subnet before and after fine-tunings at every rate."""
    space = supernet.space
    subnet = {"middle": middle(space), "largest": space.largest, "smallest": space.smallest}[given.subnet]

    def tune(lr: float, teacher: str) -> float:
        settings = FinetuneConfig(epochs=given.epochs, lr=lr, teacher=teacher)
        tuned = train_further(plan_training(supernet, Candidate(subnet, "fp32"), settings), ENGINE, ignore)
        return 100 * measured(tuned, subnet).value

    found = {"before": 100 * measured(supernet, subnet).value}
    print(f"{title}, {given.subnet}: accuracy, %; {found['before']:.1f} before", flush=True)
    print(f"{'peak rate':<24}" + "".join(f"{lr:>8g}" for lr in given.rates))
    adapted = supernet.run.adapted
    taught = str(adapted.resolve()) if adapted.exists() else "auto"
    for teacher, row in (("none", "from the labels"), (taught, "with the teacher")):
        for lr in given.rates:
            found[f"{row}, {lr:g}"] = tune(lr, teacher)
        print(f"{row:<24}" + "".join(f"{found[f'{row}, {lr:g}']:>8.1f}" for lr in given.rates), flush=True)
    return found


def run(given: argparse.Namespace) -> dict[str, Any]:
    starts = [(path.name, open_trained(Run(path))) for path in given.runs] if given.runs else [train_start(given)]
    return {title: tuned_at(title, supernet, given) for title, supernet in starts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out(parser)
    parser.add_argument("--start", choices=STARTS, default="pretrained")
    parser.add_argument("--data", choices=IMAGES, default="clothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, nargs="+", help="trained runs to take instead")
    parser.add_argument("--subnet", choices=("smallest", "middle", "largest"), default="middle")
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.02, 0.05])
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results("finetune_rates", given, run(given))


if __name__ == "__main__":
    main()
