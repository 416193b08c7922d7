"""Subnets of every size between the extremes: what a uniform sample of the genes all but never holds."""

from __future__ import annotations

import numpy as np

from nas.store.seeds import stream
from search_spaces.genes import Vectors

from .base import Floats, RunFacts

_UNIFORM = 1024
_NEAR_AN_EXTREME = 128
_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)


def macs_pool(facts: RunFacts) -> tuple[Vectors, Floats]:
    """Distinct vectors ``[n, genes]`` in ascending order of their MACs ``[n]``, the extremes included.

    MACs of uniform genes crowd around the middle. The tails are filled with mutations of the smallest and the largest
    network, at rates from nearly none to most genes. Depends on the space, the data's shape and the run's seed.
    """
    space = facts.space
    rng = stream(facts.seed, "train.pool")
    rows = [space.extremes(), space.sample(rng, _UNIFORM)]
    for extreme in space.extremes():
        copies = np.tile(extreme, (_NEAR_AN_EXTREME, 1))
        rows += [space.mutate(rng, copies, rate) for rate in _RATES]
    vectors = np.unique(np.concatenate(rows), axis=0)
    macs = facts.macs(vectors)
    order = np.argsort(macs, kind="stable")
    return vectors[order], macs[order]
