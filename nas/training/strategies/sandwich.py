"""The sandwich rule with in-place distillation (Yu et al., BigNAS, arXiv:2003.11142)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LossOf, Pass, RunFacts


@dataclass(frozen=True)
class Sandwich:
    """Largest, smallest and random subnets; all but the largest learn from the largest."""

    facts: RunFacts
    middle: int = 2

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        smallest, largest = space.extremes()
        students = [*space.sample(rng, self.middle), smallest]
        return (
            Pass(space.decode(largest), "teacher"),
            *(Pass(space.decode(v), "student") for v in students),
        )
