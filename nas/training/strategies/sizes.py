"""Subnets of every size between the extremes, as a pool and as a path."""

from __future__ import annotations

import numpy as np

from nas.store.seeds import stream
from search_spaces.genes import Floats, Vectors
from search_spaces.space import SearchSpace

from .base import RunFacts

_UNIFORM = 1024
_NEAR_AN_EXTREME = 128
_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
_GOLDEN = (5**0.5 - 1) / 2


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


def chain(space: SearchSpace) -> Vectors:
    """Vectors ``[m + 1, genes]`` from all smallest to all largest choices; each raises one gene by one choice.

    All genes rise together: of n choices, a gene has taken half at the middle of the path. Genes that are alike
    (one a block, say) take turns at moments spread by the golden ratio, so that no end of the network grows first.
    Vectors are not canonical: as ranges of choices, inactive genes matter.
    """
    moments = []
    for gene, choices in enumerate(space.cardinality):
        offset = (gene + 1) * _GOLDEN % 1
        moments += [((choice + offset) / (choices - 1), gene) for choice in range(choices - 1)]
    path = np.zeros((len(moments) + 1, len(space.genes)), dtype=np.int64)
    for row, (_, gene) in enumerate(sorted(moments), start=1):
        path[row] = path[row - 1]
        path[row, gene] += 1
    return path
