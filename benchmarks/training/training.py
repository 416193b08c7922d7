"""The experiments that justify the trainer.

    python -m benchmarks.training.training overhead      steps through the supernet against the same networks alone
    python -m benchmarks.training.training speed         a sandwich step against ofa's, depthwise gradients
    python -m benchmarks.training.training quality       subnets against networks trained alone, and how they rank
    python -m benchmarks.training.training strategies    strategies and losses at equal processor time

Times are processor time of one thread. The last two keep every finished cell as a file in ``--out``: the same command
goes on where it was stopped, and a larger one only adds what is new. ``--short`` is a form of about five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training._training_cells import SOURCES, cell, family, source_of, summary, trained_supernet
from benchmarks.training._training_quality import SHORT, Budget, quality
from benchmarks.training._training_speed import gradient_times, sandwich_times, step_ratio
from nas.data.opening import open_dataset
from nas.tasks.losses import DISTILL
from nas.training.config import TrainConfig
from nas.training.ineffective import has_students
from nas.training.loop import setting
from nas.training.strategies import AUTO, STRATEGIES
from search_spaces import get_space

COLUMNS = ("smallest", "middle", "largest", "random")


def overhead(given: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name, batch, subnets in (("mbv3-tiny", 64, given.subnets), ("mbv3-large", 32, max(3, given.subnets // 5))):
        row = found[name] = step_ratio(get_space(name), batch, subnets, given.seed)
        print(f"{name:<11} batch {batch}: {row['supernet_ms']:8.1f} ms supernet, {row['standalone_ms']:8.1f} ms alone, "
              f"ratio {row['ratio']:.3f}", flush=True)  # fmt: skip
    return found


def speed(given: argparse.Namespace) -> dict[str, Any]:
    rows = []
    print("weight gradient of depthwise convolutions, ms")
    for row in gradient_times(given.batch_size, given.repeats):
        rows.append(row)
        print(f"kernel {row['kernel']}, {row['channels']:>4} channels, side {row['side']:>2}, stride {row['stride']}: "
              f"{row['torch_ms']:6.1f} torch, {row['ours_ms']:6.1f} ours, ratio {row['ratio']:.2f}",
              flush=True)  # fmt: skip
    steps = sandwich_times(given.resolution, given.batch_size, given.repeats, given.seed)
    print(f"sandwich step of ofa-mbv3-w1.0, {given.resolution} px, batch {given.batch_size}")
    print(f"ours: {steps['ours_ms']:,.0f} ms; with torch's depthwise gradient: {steps['torch_gradient_ms']:,.0f} ms")
    if steps["ofa_ms"] is None:
        print(f"the ofa package: skipped, {steps['skipped']}")
    else:
        print(f"the ofa package: {steps['ofa_ms']:,.0f} ms; ours is {steps['ratio']:.3f} of it")
    return {"gradients": rows, "sandwich": steps}


def run_quality(given: argparse.Namespace) -> dict[str, Any]:
    budget = SHORT if given.short else Budget()
    asked = {name: getattr(given, name) for name in asdict(budget) if getattr(given, name) is not None}
    config = TrainConfig(space=given.space, strategy=given.strategy, seed=given.seed, lr=given.lr)
    found = quality(given.out, given.data, config, replace(budget, **asked))
    steps, once = found["steps"], found["largest_seconds"]
    print(f"accuracy, %, on {given.data}; {steps['supernet']:,} steps of the supernet, {steps['alone']:,} of each "
          f"alone; of those the largest took {once:.0f} s")  # fmt: skip
    print(f"{'':<28}" + "".join(f"{c:>10}" for c in COLUMNS) + f"{'seconds':>10}")
    for name, row in found["accuracy"].items():
        print(f"{name:<28}" + _figures(row) + f"{found['seconds'][name] or float('nan'):>10.0f}")
    if found["ranked"]:
        print(f"Kendall's tau with {found['ranked']} networks trained alone (their accuracies spread over "
              f"{found['spread']:.1f} points)")  # fmt: skip
    for name, row in found["tau"].items():
        print(f"{name:<28} all {row['all']:.2f}, within nearly equal MACs {row['within']:.2f}")
    return found


def strategies(given: argparse.Namespace) -> dict[str, Any]:
    config = TrainConfig(space=given.space, source=source_of(given.data, given.out), lr=given.lr)
    dataset = open_dataset(config.source, given.seeds[0])
    space, found = get_space(given.space), {}
    print(f"accuracy, %, on {given.data}\n{'':<44}" + "".join(f"{c:>10}" for c in COLUMNS) + f"{'steps':>10}")
    for seconds in given.budgets:
        for name in given.strategies:
            for distill in given.losses if has_students(name, setting(config, dataset.info)) else DISTILL[:1]:
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
                print(f"{title:<44}" + _figures(mean) + f"{steps:>10,}", flush=True)
    return found


def _figures(row: dict[str, float]) -> str:
    return "".join(f"{row[c]:>10.1f}" if c in row else f"{'':>10}" for c in COLUMNS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, work: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(work=work, name=name)
        added.add_argument("--out", type=Path, default=Path("runs/bench-training"), help="folder of the results")
        return added

    one = command("overhead", overhead)
    one.add_argument("--subnets", type=int, default=30, help="of mbv3-tiny; a fifth of them of mbv3-large")
    one.add_argument("--seed", type=int, default=0)
    one = command("speed", speed)
    one.add_argument("--resolution", type=int, default=128)
    one.add_argument("--batch-size", type=int, default=32)
    one.add_argument("--repeats", type=int, default=5)
    one.add_argument("--seed", type=int, default=0)
    for name, work in (("quality", run_quality), ("strategies", strategies)):
        one = command(name, work)
        one.add_argument("--data", choices=SOURCES, default="embedded")
        one.add_argument("--space", default="mbv3-tiny")
        one.add_argument("--lr", type=float, default=0.1)
        if name == "quality":
            one.add_argument("--short", action="store_true", help="about five minutes; other flags still count")
            one.add_argument("--seed", type=int, default=0)
            one.add_argument("--strategy", default="random")
            for field, default in asdict(Budget()).items():
                flag = f"--{field.replace('_', '-')}"
                one.add_argument(flag, type=type(default), help=f"default {default:g}, short {asdict(SHORT)[field]:g}")
        else:
            one.add_argument("--seeds", type=int, nargs="+", default=[0])
            one.add_argument("--budgets", type=float, nargs="+", default=[150, 600, 2400], help="processor seconds")
            one.add_argument("--strategies", nargs="+", default=[s for s in STRATEGIES if s != AUTO])
            one.add_argument("--losses", nargs="+", choices=DISTILL, default=list(DISTILL))
            one.add_argument("--randoms", type=int, default=10)
    return parser


def main() -> None:
    given = _parser().parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    found = given.work(given)
    path = given.out / f"{given.name}.json"
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(given).items() if k not in ("work", "name")}
    path.write_text(json.dumps({"settings": settings, "found": found, "torch": torch.__version__}, indent=1))
    print(f"written: {path}; load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
