"""Any model's space against the family's around the same model: the same choices, steps and images.

    python -m benchmarks.training.generic [--models resnet18] [--steps 500] [--seeds 0 1] ...

Both are ``timm:NAME``, one of them with ``family=any``: its genes are what a run of the model shows. CIFAR-10 (JPEG)
from random weights; accuracies of calibrated subnets, fp32, on the search and test splits together. One thread. Every
finished training is kept as a file in ``--out``: the same command continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.cells import cell, family, summary, trained_supernet
from benchmarks.support.given import images_folder
from benchmarks.support.results import COLUMNS, add_out, figures, write_results
from benchmarks.training.quality import macs_of
from nas.training.config import TrainConfig
from search_spaces import get_space

WAYS = {"family": "", "any": ":family=any"}


def compare(given: argparse.Namespace) -> dict[str, Any]:
    source, found = str(images_folder(given.out, "cifar10", given.images, given.test_images)), {}
    print(f"accuracy, %, after {given.steps:,} steps\n{'':<40}" + "".join(f"{c:>10}" for c in COLUMNS)
          + f"{'mean':>10}{'MMACs':>8}{'genes':>7}{'seconds':>9}")  # fmt: skip
    for model in given.models:
        for way, suffix in WAYS.items():
            space = get_space(f"timm:{model}{suffix}:{given.choices}")
            rows = []
            for seed in given.seeds:
                members = family(space, given.randoms, seed)
                config = TrainConfig(
                    space=space.name, source=source, seed=seed, strategy=given.strategy, lr=given.lr,
                    batch_size=given.batch_size,
                )  # fmt: skip
                key = (f"generic-{model}-{way}-{given.choices.replace(':', '-')}-{given.strategy}-lr{given.lr:g}"
                       f"-{Path(source).name}-{given.steps}steps-s{seed}-r{given.randoms}")  # fmt: skip
                rows.append(
                    cell(given.out, key, lambda k=key, c=config, m=members: (  # type: ignore[misc]
                        trained_supernet(given.out / k, c, 0.0, m, given.steps)))
                )  # fmt: skip
            accuracies = {name: float(np.mean([row["accuracy"][name] for row in rows])) for name in rows[0]["accuracy"]}
            row = found[f"{model}, {way}"] = {
                **summary(accuracies),
                "mean": 100 * float(np.mean(list(accuracies.values()))),
                "mmacs": float(macs_of(space, list(members.values())).mean()) / 1e6,
                "genes": len(space.genes),
                "seconds": sum(each["seconds"] or float("nan") for each in rows),
            }
            print(f"{f'{model}, {way}':<40}{figures(row)}{row['mean']:>10.2f}{row['mmacs']:>8.1f}{row['genes']:>7}"
                  f"{row['seconds']:>9.0f}", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out(parser)
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenetv3_small_100"])
    parser.add_argument("--choices", default="width=0.5,0.75:depth=0.5:resolution=32")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--strategy", default="sandwich")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--randoms", type=int, default=10)
    parser.add_argument("--images", type=int, default=20_000, help="training images; the search split is cut from them")
    parser.add_argument("--test-images", type=int, default=2_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results("generic", given, compare(given))


if __name__ == "__main__":
    main()
