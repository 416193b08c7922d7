"""One uniformly random subnet per step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LossOf, Pass, RunFacts


@dataclass(frozen=True)
class SingleRandom:
    """One uniformly random subnet per step, learning from the labels. The best choice for small budgets."""

    facts: RunFacts

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        return (Pass(space.decode(space.sample(rng, 1)[0])),)
