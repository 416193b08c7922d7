"""Ratios and rates that the design promises. One command: ``python benchmarks/speed.py``.

* step: a training step through the supernet (skeleton look-up included) against the same subnets as standalone timm
  models, same batches, interleaved in one run; processor time of one thread.
* score: candidates a second through the vectorised costs, the latency model and the accuracy predictor.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.supernet import Supernet
from predictors.accuracy import fit, gene_features, physics_features
from predictors.costs import CostTables, size_bytes
from predictors.target import load_target
from search_spaces import SearchSpace, get_space


def step_ratio(space: SearchSpace, batch: int, subnets: int, seed: int = 0) -> tuple[float, float, float]:
    """Median over subnets of (supernet step / standalone step), and both times in ms.

    Every subnet is stepped through once in each form before it is timed, so that neither pays for first allocations;
    the skeleton cache has seen other architectures only, as in training.
    """
    rng = np.random.default_rng(seed)
    net = Supernet(space, 10, 3).to(memory_format=torch.channels_last).train()
    warm = [space.decode(v) for v in space.sample(rng, 200)]
    for architecture in warm:
        net.skeleton(architecture)
    shared, alone = [], []
    for vector in space.sample(rng, subnets):
        architecture = space.decode(vector)
        plain = net.extract(architecture).to(memory_format=torch.channels_last).train()
        x = torch.randn(batch, 3, architecture.resolution, architecture.resolution)
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.randint(0, 10, (batch,))
        times: tuple[list[float], list[float]] = ([], [])
        for repeat in range(4):
            net._skeletons.pop(architecture, None)  # an unseen architecture each time
            times[0].append(_step(net.model, lambda a=architecture, x=x: net(x, a), y))
            times[1].append(_step(plain, lambda m=plain, x=x: m(x), y))
            if repeat == 0:
                times[0].clear(), times[1].clear()
        shared.append(float(np.median(times[0])))
        alone.append(float(np.median(times[1])))
    ratio = float(np.sum(shared) / np.sum(alone))
    return ratio, 1e3 * float(np.mean(shared)), 1e3 * float(np.mean(alone))


def _step(model: nn.Module, forward, labels: Tensor) -> float:  # type: ignore[no-untyped-def]
    began = time.thread_time()
    F.cross_entropy(forward(), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3)
                parameter.grad = None
    return time.thread_time() - began


def scoring_rate(space: SearchSpace, measured: int = 60, population: int = 20_000) -> dict[str, float]:
    """Candidates a second on one thread, for each predictor and for all together."""
    rng = np.random.default_rng(0)
    tables, target = CostTables(space, 10, 3), load_target("cortex-a72")
    known = space.sample(rng, measured)
    accuracy = 0.8 + 0.02 * rng.standard_normal(measured)
    gp = fit(gene_features(space, known), physics_features(tables.features(known)), accuracy)
    vectors = space.sample(rng, population)

    def costs() -> None:
        size_bytes(tables.features(vectors), "int8")

    features = tables.features(vectors)

    def latency() -> None:
        target.latency.predict(features, "int8")

    def predictor() -> None:
        gp.predict(gene_features(space, vectors), physics_features(features))

    rates = {}
    for name, work in (("costs", costs), ("latency", latency), (f"accuracy ({measured} measured)", predictor)):
        times = []
        for _ in range(5):
            began = time.thread_time()
            work()
            times.append(time.thread_time() - began)
        rates[name] = population / float(np.median(times))
    rates["all"] = 1 / sum(1 / rate for rate in rates.values())
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subnets", type=int, default=30, help="subnets timed per space")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, batch in (("mbv3-tiny", 64), ("mbv3-large", 32)):
        space = get_space(name)
        subnets = arguments.subnets if name == "mbv3-tiny" else max(3, arguments.subnets // 5)
        ratio, shared, alone = step_ratio(space, batch, subnets)
        print(
            f"step {name:<11} batch {batch}: {shared:8.1f} ms supernet, {alone:8.1f} ms standalone, ratio {ratio:.3f}"
        )
    for name in ("mbv3-tiny", "mbv3-large"):
        for part, rate in scoring_rate(get_space(name)).items():
            print(f"score {name:<11} {part:<24} {rate:12,.0f} candidates/s")


if __name__ == "__main__":
    main()
