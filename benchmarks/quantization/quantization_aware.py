"""What training for quantization gains, and what it costs.

    python -m benchmarks.quantization.quantization_aware accuracy --out FOLDER  # trains and measures; figures in FOLDER
    python -m benchmarks.quantization.quantization_aware cost                    # a training step, interleaved

Three supernets of mbv3-tiny on the embedded data set take the same number of steps. Their float part is one and the
same: it is trained once, and each continues from its last checkpoint, the plain one in floats, the others quantized or
with quantization noise. The smallest, the middle and the largest subnet are then shipped in each precision
(calibrated, quantized with the clips that were learned), and measured on the search and on the test split.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Evaluated, Event, Stepped
from nas.quantization.grids import is_clip
from nas.store.records import RunRecord
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training import checkpoint
from nas.training.builders import make_optimizer, make_phase, make_supernet
from nas.training.config import Resources, TrainConfig, total_steps
from nas.training.loop import Interrupted, train
from nas.training.quantized import QuantizedPhase
from nas.training.step import StepInput, run_passes, update
from nas.training.strategies.base import Pass
from nas.training.weights import load_supernet
from search_spaces import Architecture, SearchSpace, get_space

PRECISIONS = ("fp32", "int8", "w4a8", "w2a8")
IMAGES = 12_000  # of the training split


def subnets(space: SearchSpace) -> dict[str, Architecture]:
    """Smallest, middle (every gene at its middle choice) and largest."""
    low, high = space.extremes()
    middle = space.canonical(((low + high) // 2)[None])[0]
    return {"smallest": space.smallest, "middle": space.decode(middle), "largest": space.largest}


def train_to(run: Run, config: TrainConfig, dataset: Dataset, last: int | None = None) -> None:
    """Train a run, up to a step (a multiple of 20) or to its end; continues where it stopped."""

    def report(event: Event) -> None:
        if isinstance(event, Stepped) and event.step % 200 == 0:
            print(f"{run.path.name} {event}", flush=True)
        if isinstance(event, Stepped | Evaluated) and event.step == last:
            os.kill(os.getpid(), signal.SIGINT)

    run.path.mkdir(parents=True, exist_ok=True)
    if not run.exists:
        run.write(RunRecord(config=asdict(config), data=dataset.info, complete=False))
    with suppress(Interrupted):
        train(run, config, dataset, Resources(workers=0), report)


def branch(source: Run, run: Run, config: TrainConfig, dataset: Dataset) -> None:
    """A run with other settings that continues from a float run's checkpoint: clips are added, the optimizer's too."""
    state, _ = checkpoint.load(source)
    assert state is not None
    plain, net = (
        make_supernet(TrainConfig(**source.read().config), dataset.info),
        make_supernet(config, dataset.info),
    )
    net.model.load_state_dict(state.model | {n: t for n, t in net.model.state_dict().items() if is_clip(n)})
    names = _order(plain, make_optimizer(config, plain.model))
    optimizer = make_optimizer(config, net.model)
    number = {name: i for i, name in enumerate(_order(net, optimizer))}
    slots = {number[names[i]]: slot for i, slot in state.slots.items()}
    groups = [
        {**own, "params": mine["params"]}
        for own, mine in zip(state.groups, optimizer.state_dict()["param_groups"], strict=True)
    ]
    run.path.mkdir(parents=True)
    run.write(RunRecord(config=asdict(config), data=dataset.info, complete=False))
    checkpoint.save(run, replace(state, model=dict(net.model.state_dict()), slots=slots, groups=groups))


def _order(net: Supernet, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of an optimizer's parameters by their number in its state."""
    names = {id(p): name for name, p in net.model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def figures(run: Run, dataset: Dataset) -> dict[str, dict[str, list[float]]]:
    """Subnet -> precision -> accuracy in % on the search and on the test split."""
    net, found = load_supernet(run), {}
    for name, architecture in subnets(net.space).items():
        found[name] = {
            p: [100 * measure(net, dataset, Candidate(architecture, p), split).value for split in ("search", "test")]
            for p in PRECISIONS
        }
        print(f"{run.path.name} {name} {found[name]}", flush=True)
    return found


def accuracy_table(results: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Accuracy of each subnet and run, ``search / test``; and the share of the plain supernet's loss that is regained
    on both splits together."""
    lines = ["| subnet | trained | " + " | ".join(PRECISIONS) + " |", "|" + "---|" * (2 + len(PRECISIONS))]
    for subnet, plain in results["plain"].items():
        for name, found in results.items():
            row = [f"{a:.1f} / {b:.1f}" for a, b in found[subnet].values()]
            if name != "plain":
                for i, p in enumerate(PRECISIONS[1:], start=1):
                    lost = sum(plain["fp32"]) - sum(plain[p])
                    gained = sum(found[subnet][p]) - sum(plain[p])
                    row[i] += f" ({100 * gained / lost:+.0f} %)" if lost > 0 else " (no loss)"
            lines.append(f"| {subnet} | {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def accuracy(out: Path, steps: int, phase: float, noise: float, menus: list[str]) -> None:
    """Train, measure and print."""
    dataset = open_dataset("embedded", 0, None)
    plain = TrainConfig(space="mbv3-tiny", epochs=steps / (IMAGES // TrainConfig.batch_size))
    assert total_steps(plain, IMAGES) == steps
    begin = steps - round(steps * phase)
    source = Run(out / "float")
    if not source.checkpoint.exists():
        train_to(source, plain, dataset, begin)
    runs = {"plain": plain}
    for menu in menus:
        aware = replace(plain, quantization_aware=menu, quantization_phase=phase)
        runs |= {f"aware {menu}": aware, f"noise {menu}": replace(aware, quantization_noise=noise)}
    results = {}
    for name, config in runs.items():
        run = Run(out / name.replace(" ", "-").replace(",", "-"))
        if not run.exists:
            branch(source, run, config, dataset)
        began = time.process_time()
        if not run.supernet.exists():
            train_to(run, config, dataset)
        print(f"{name}: {time.process_time() - began:.0f} s of processor time", flush=True)
        results[name] = figures(run, dataset)
    (out / "accuracy.json").write_text(json.dumps(results, indent=1))
    print(accuracy_table(results))


def cost(steps: int, batch_size: int = 64) -> None:
    """Processor time of a training step, plain, quantized and with noise, on the same random subnets in turn."""
    space = get_space("mbv3-tiny")
    config = TrainConfig(space="mbv3-tiny", quantization_aware="int8,w4a8")
    info = open_dataset("embedded", 0, None).info
    net = make_supernet(config, info)
    optimizer = make_optimizer(config, net.model)
    phase = make_phase(replace(config, quantization_phase=1.0), steps)
    kinds: dict[str, QuantizedPhase | None] = {"plain": None, "aware": phase, "noise": replace(phase, noise=0.5)}
    images = torch.randn(batch_size, info.in_chans, info.native_size, info.native_size)
    batch = StepInput(images, torch.randint(len(info.classes), (batch_size,)))
    rng = np.random.default_rng(0)
    fixed = {"smallest": space.smallest, "largest": space.largest}
    times: dict[str, dict[str, list[float]]] = {subnet: {k: [] for k in kinds} for subnet in (*fixed, "random")}
    for step in range(-2, steps):  # two to warm up
        for subnet in times:
            architecture = fixed.get(subnet) or space.decode(space.sample(rng, 1)[0])
            run_passes(
                net, (Pass(architecture),), batch, get_task(), Loss(0.1)
            )  # builds its skeleton and torch's kernels
            for kind, part in kinds.items():
                began = time.thread_time()
                optimizer.zero_grad()
                passes = (Pass(architecture),)
                run_passes(net, passes if part is None else part.of(passes, max(step, 0)), batch, get_task(), Loss(0.1))
                update(net, optimizer, 0.0, 5.0)
                if step >= 0:
                    times[subnet][kind].append(time.thread_time() - began)
    print("| subnet | plain, ms | quantized | with noise |\n|---|---|---|---|")
    for subnet, found in times.items():
        base = found.pop("plain")
        total = 1e3 * statistics.median(base)
        row = [f"{statistics.median(a / b for a, b in zip(t, base, strict=True)):.2f} x" for t in found.values()]
        print(f"| {subnet} | {total:.1f} | {' | '.join(row)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "cost"))
    parser.add_argument("--out", type=Path, default=Path("quantization-aware"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--phase", type=float, default=0.25)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--menus", nargs="+", default=["int8,w4a8"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "cost":
        cost(min(given.steps, 60))
    else:
        accuracy(given.out, given.steps, given.phase, given.noise, given.menus)


if __name__ == "__main__":
    main()
