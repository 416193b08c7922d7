"""First the whole network, then subnets that learn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LossOf, Pass, RunFacts


@dataclass(frozen=True)
class TeacherFirst:
    """The largest alone; from :attr:`begin` on one random subnet a step, which learns from what the largest knew then.

    For weights that were given: they are adapted to the data as a plain fine-tuning does it before anything shares
    them. At ``begin`` the training keeps the adapted network's answers as those of a fixed teacher and orders its
    channels by the loss (:mod:`nas.training.adaptation`). Once-for-All (Cai et al., arXiv:1908.09791) trains the
    largest first, too, and has it teach; its subnets are opened one kind of gene after the other.
    """

    facts: RunFacts

    @property
    def begin(self) -> int:
        """First step that trains a subnet."""
        return max(1, round(self.facts.adapt_share * self.facts.steps))

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        if step < self.begin:
            return (Pass(space.largest),)
        return (Pass(space.decode(space.sample(rng, 1)[0])),)
