"""Largest, random, smallest, random: one subnet per step, in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LossOf, Pass, RunFacts


@dataclass(frozen=True)
class Alternating:
    """A quarter of the steps trains the largest, a quarter the smallest, half of them a random subnet.

    The sandwich rule spread over four steps, without distillation. By step number, so that the shares are exact.
    """

    facts: RunFacts

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        smallest, largest = space.extremes()
        turn = step % 4
        vector = largest if turn == 0 else smallest if turn == 2 else space.sample(rng, 1)[0]
        return (Pass(space.decode(vector)),)
