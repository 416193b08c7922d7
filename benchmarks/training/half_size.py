"""A step with a random subnet of half the MACs against one of the whole: ``python -m benchmarks.training.half_size``.

Through the supernet a step is what training does: passes, clipping and the optimizer, with an architecture that is seen
for the first time and whose blocks were all seen before. Beside it the same two networks as plain timm models with an
optimizer each: what the sizes alone make of it. All four take their steps in turn, so that what else the machine does
meets them alike; a ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.support.results import add_out, write_results
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training.builders import make_optimizer
from nas.training.config import TrainConfig
from nas.training.step import StepInput, resize, run_passes, update
from nas.training.strategies.base import Pass
from predictors.costs.network import architecture_features, total_macs
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture, Interface

INTERFACE = Interface(3, 10)
HALF = (0.45, 0.55)
KNOWN = 100  # subnets whose blocks are built before

Step = Callable[[], Any]


def macs(space: SearchSpace, architecture: Architecture) -> float:
    """Multiply-accumulates of an image."""
    return float(total_macs(architecture_features(space, architecture, INTERFACE)[None])[0])


def half_sized(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """The first random subnets whose MACs are about half of the largest one's."""
    rng, whole = np.random.default_rng(seed), macs(space, space.largest)
    found: list[Architecture] = []
    while len(found) < count:
        architecture = space.decode(space.sample(rng, 1)[0])
        if HALF[0] <= macs(space, architecture) / whole <= HALF[1]:
            found.append(architecture)
    return found


def measure(space: SearchSpace, halves: list[Architecture], batch: int, threads: int) -> dict[str, float]:
    """Median ratios of steps, and their milliseconds; processor time of one thread, else wall time."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    task, loss, side = get_task(), Loss(), space.largest.resolution
    images, labels = torch.randn(batch, 3, side, side), torch.randint(0, 10, (batch,))
    settings = TrainConfig(space=space.name, lr=1e-3)
    net = Supernet(space, INTERFACE).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for vector in space.sample(np.random.default_rng(1), KNOWN):
        net.skeleton(space.decode(vector))
    for architecture in halves:
        net.skeleton(architecture)
    optimizer = make_optimizer(settings, net.model)

    def shared(architecture: Architecture) -> Step:
        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            run_passes(net, [Pass(architecture)], StepInput(images, labels), task, loss)
            update(net, optimizer, 0.0, 10.0)

        return step

    def alone(architecture: Architecture) -> Step:
        model = net.extract(architecture).to(memory_format=torch.channels_last).train()
        own = make_optimizer(settings, model)

        def step() -> None:
            own.zero_grad(set_to_none=True)
            task.loss(model(resize(images, side)), labels, None, loss).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0).item()
            own.step()

        return step

    whole_alone, rows = alone(space.largest), []
    for number, architecture in enumerate([halves[0], *halves]):  # the first is for warming up
        works = [shared(architecture), shared(space.largest), alone(architecture), whole_alone]
        works[2]()  # the optimizer makes its slots
        net.eval().train()  # forgets whole skeletons, not their parts
        took = []
        for work in works:
            began = clock()
            work()
            took.append(1e3 * (clock() - began))
        if number:
            rows.append(took)
    half, whole, half_alone, largest_alone = (list(column) for column in zip(*rows, strict=True))
    return {
        "half_ms": statistics.median(half), "whole_ms": statistics.median(whole),
        "ratio": _ratio(half, whole), "ratio_alone": _ratio(half_alone, largest_alone),
        "half_over_alone": _ratio(half, half_alone), "whole_over_alone": _ratio(whole, largest_alone),
    }  # fmt: skip


def _ratio(first: list[float], second: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="timm:tf_efficientnet_lite0:resolution=64")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--subnets", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    add_out(parser)
    given = parser.parse_args()
    space = get_space(given.space)
    halves = half_sized(space, given.subnets, given.seed)
    whole = macs(space, space.largest)
    share = statistics.mean(macs(space, a) for a in halves) / whole
    print(f"{given.space}: {whole / 1e6:.1f} MMACs; {len(halves)} random subnets with {share:.2f} of them on average")
    print("threads  batch  half, ms  whole, ms  ratio  ratio alone  half / alone  whole / alone")
    rows = []
    for threads in given.threads:
        for batch in given.batch_sizes:
            row = measure(space, halves, batch, threads)
            rows.append({"threads": threads, "batch": batch, **row})
            print(f"{threads:>7}  {batch:>5}  {row['half_ms']:>8.0f}  {row['whole_ms']:>9.0f}  {row['ratio']:>5.2f}  "
                  f"{row['ratio_alone']:>11.2f}  {row['half_over_alone']:>12.2f}  {row['whole_over_alone']:>13.2f}",
                  flush=True)  # fmt: skip
    write_results("half_size", given, {"macs": whole, "share": share, "steps": rows})


if __name__ == "__main__":
    main()
