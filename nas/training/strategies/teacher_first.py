"""First the whole network, then subnets that learn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LossOf, Pass, RunFacts
from .table import adapting_steps

LARGEST, SMALLEST = 0.15, 0.05
"""Shares of the later steps that train the largest, so that it is kept, and the smallest, which is rarely drawn."""


@dataclass(frozen=True)
class TeacherFirst:
    """The largest alone; from :attr:`begin` on one subnet a step, which learns from what the largest knew then.

    Subnets are random ones, and in some steps the largest or the smallest.

    For weights that were given: they are adapted to the data as a plain fine-tuning does it before anything shares
    them. At ``begin`` the training keeps the adapted network's answers as those of a fixed teacher and orders its
    channels by the loss (:mod:`nas.training.adaptation`). Once-for-All (Cai et al., arXiv:1908.09791) trains the
    largest first, too, and has it teach; its subnets are opened one kind of gene after the other.
    """

    facts: RunFacts

    @property
    def begin(self) -> int:
        """First step that trains a subnet."""
        return adapting_steps(self.facts.adapt_share, self.facts.steps)

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        drawn = 0.0 if step < self.begin else rng.random()
        if drawn < LARGEST:
            return (Pass(space.largest),)
        if drawn < LARGEST + SMALLEST:
            return (Pass(space.smallest),)
        return (Pass(space.decode(space.sample(rng, 1)[0])),)
