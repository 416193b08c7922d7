"""Random subnets and the extremes of the space, as they are."""

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


@dataclass(frozen=True)
class Alternating:
    """The sandwich rule spread over four steps, without distillation: the largest, a random subnet, the smallest, a
    random one, by step number, so that the shares are exact."""

    facts: RunFacts

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        smallest, largest = space.extremes()
        turn = step % 4
        vector = largest if turn == 0 else smallest if turn == 2 else space.sample(rng, 1)[0]
        return (Pass(space.decode(vector)),)


@dataclass(frozen=True)
class Sandwich:
    """Largest, smallest and random subnets; all but the largest learn from the largest (Yu et al., BigNAS,
    arXiv:2003.11142: in-place distillation)."""

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
