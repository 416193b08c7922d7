"""Candidates a second through the vectorised costs, the latency model and the accuracy predictor, on one thread.

python -m benchmarks.search.speed
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from predictors.accuracy.features import space_features
from predictors.accuracy.gp import fit_gp
from predictors.costs.network import size_bytes
from predictors.costs.tables import CostTables
from predictors.latency.additive import AdditiveLatency
from predictors.targets.target import load_target
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Interface


def scoring_rate(space: SearchSpace, measured: int = 60, population: int = 20_000) -> dict[str, float]:
    """Candidates a second on one thread, for each predictor and for all together."""
    rng = np.random.default_rng(0)
    tables, target = CostTables(space, Interface(3, 10)), load_target("cortex-a72")
    known = space.sample(rng, measured)
    accuracy = 0.8 + 0.02 * rng.standard_normal(measured)
    gp = fit_gp(space_features(space, tables, known), accuracy)
    vectors = space.sample(rng, population)

    def costs() -> None:
        size_bytes(tables.features(vectors), "int8")

    features, model = tables.features(vectors), target.latency
    assert isinstance(model, AdditiveLatency)

    def latency() -> None:
        model.predict(features, "int8")

    def predictor() -> None:
        gp.predict(space_features(space, tables, vectors))

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
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    for name in ("mbv3-tiny", "mbv3-large"):
        for part, rate in scoring_rate(get_space(name)).items():
            print(f"score {name:<11} {part:<24} {rate:12,.0f} candidates/s")


if __name__ == "__main__":
    main()
