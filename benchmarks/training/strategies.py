"""Strategies and losses at equal processor time.

    python -m benchmarks.training.strategies [--data fashion] [--lr 0.4] [--budgets 150 600] [--strategies random ...]

Times are processor time of one thread. Every finished training is kept as a file in ``--out``: the same command
continues where it stopped, and a larger one only adds what is new.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.support.cells import SOURCES, cell, family, source_of, summary, trained_supernet
from benchmarks.support.results import COLUMNS, add_out, figures, write_results
from nas.data.opening import open_dataset
from nas.training.builders import make_facts
from nas.training.check import sample_passes
from nas.training.config import DISTILL, TrainConfig
from nas.training.strategies.table import AUTO, STRATEGIES
from search_spaces import get_space


def strategies(given: argparse.Namespace) -> dict[str, Any]:
    config = TrainConfig(space=given.space, source=source_of(given.data, given.out), lr=given.lr)
    dataset = open_dataset(config.source, given.seeds[0])
    space, found = get_space(given.space), {}
    print(f"accuracy, %, on {given.data}\n{'':<44}" + "".join(f"{c:>10}" for c in COLUMNS) + f"{'steps':>10}")
    for seconds in given.budgets:
        for name in given.strategies:
            roles = {each.role for each in sample_passes(name, make_facts(config, dataset.info))}
            for distill in given.losses if "student" in roles else DISTILL[:1]:
                # AlphaNet's loss needs its clip
                recipe = replace(config, strategy=name, distill=distill, clip_value=float(distill == "alpha"))
                results = []
                for seed in given.seeds:
                    one, members = replace(recipe, seed=seed), family(space, given.randoms, seed)
                    key = (f"strategies-{given.data}-{given.space}-{name}-{distill}-lr{given.lr:g}-{seconds:g}s-s{seed}"
                           f"-r{given.randoms}")  # fmt: skip
                    results.append(
                        cell(given.out, key, lambda c=one, k=key, m=members, s=seconds: (  # type: ignore[misc]
                            trained_supernet(given.out / k, c, s, m)))
                    )  # fmt: skip
                rows = [summary(r["accuracy"]) for r in results]
                mean = {column: float(np.mean([row[column] for row in rows])) for column in rows[0]}
                title = f"{seconds:g} s, {name}" + (f", {distill}" if distill != DISTILL[0] else "")
                steps = round(float(np.mean([r["steps"] for r in results])))
                spread = {column: float(np.std([row[column] for row in rows])) for column in rows[0]}
                found[title] = {"mean": mean, "deviation": spread, "steps": steps, "seeds": len(rows)}
                print(f"{title:<44}" + figures(mean) + f"{steps:>10,}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out(parser)
    parser.add_argument("--data", choices=SOURCES, default="embedded")
    parser.add_argument("--space", default="mbv3-tiny")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budgets", type=float, nargs="+", default=[150, 600, 2400], help="processor seconds")
    parser.add_argument("--strategies", nargs="+", default=[s for s in STRATEGIES if s != AUTO])
    parser.add_argument("--losses", nargs="+", choices=DISTILL, default=list(DISTILL))
    parser.add_argument("--randoms", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results("strategies", given, strategies(given))


if __name__ == "__main__":
    main()
