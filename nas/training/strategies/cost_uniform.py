"""One subnet per step, its MACs uniform between the smallest and the largest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.genes import Floats, Vectors

from .base import LossOf, Pass, RunFacts
from .sizes import macs_pool

_NEIGHBOURS = 16
_MUTANTS = 32
_RATE = 0.1


@dataclass(frozen=True)
class CostUniform:
    """Small and large subnets are trained as often as those in the middle.

    Genes drawn uniformly give MACs that crowd around the middle (on a space of many genes, nearly normally), so that
    subnets near the extremes are all but never trained. Here MACs are drawn first. Of the networks nearest to them in
    a fixed pool one is picked, and of its mutations (and the extremes) the one that fits best is trained: no drawing
    until it fits, and no bound to the pool.
    """

    facts: RunFacts

    @cached_property
    def _pool(self) -> tuple[Vectors, Floats]:
        return macs_pool(self.facts)

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        vectors, macs = self._pool
        target = rng.uniform(macs[0], macs[-1])
        first = int(np.searchsorted(macs, target)) - _NEIGHBOURS // 2
        first = min(max(0, first), max(0, len(macs) - _NEIGHBOURS))
        parent = vectors[min(first + int(rng.integers(_NEIGHBOURS)), len(macs) - 1)]
        family = np.concatenate([space.extremes(), space.mutate(rng, np.tile(parent, (_MUTANTS, 1)), _RATE)])
        return (Pass(space.decode(family[np.abs(self.facts.macs(family) - target).argmin()])),)
