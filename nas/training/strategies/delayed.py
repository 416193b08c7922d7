"""Delayed shrinking (Annavajjala, Khare et al., DEpS, arXiv:2407.06167)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.genes import Vectors

from .base import LossOf, Pass, RunFacts, sample_from
from .sizes import chain

DELAY = 0.5
"""Share of the run that trains the largest alone: where the paper finds shrinking best begun."""

SHRUNK = 0.75
"""Share of the run after which every choice is open and subnets count in full. The paper gives no such number for a
run of any length; half of what the delay leaves."""


@dataclass(frozen=True)
class Delayed:
    """The largest alone for half of the run; then a sandwich whose range of sizes grows down to the smallest.

    While it shrinks, the losses of subnets are ramped up from 0 (the paper ramps their learning rates; with plain
    gradient steps that is the same), and a subnet learns from the largest with a probability that rises likewise, else
    from the labels: distillation warms up while the teacher still improves. The way down is :func:`.sizes.chain`.
    """

    facts: RunFacts
    middle: int = 2

    @cached_property
    def _chain(self) -> Vectors:
        return chain(self.facts.space)

    def shrunk(self, step: int) -> float:
        """How far shrinking has come at a step: 0 not begun, 1 done."""
        begin, end = (round(share * self.facts.steps) for share in (DELAY, SHRUNK))
        return min(1.0, max(0.0, (step + 1 - begin) / max(1, end - begin)))

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space, shrunk = self.facts.space, self.shrunk(step)
        if not shrunk:
            return (Pass(space.largest),)
        steps_down = round(shrunk * (len(self._chain) - 1))
        lowest = self._chain[len(self._chain) - 1 - steps_down]
        subnets = [*sample_from(space, rng, lowest, self.middle), lowest]
        distilled = rng.random(len(subnets)) < shrunk
        return (
            Pass(space.largest, "teacher"),
            *(
                Pass(space.decode(vector), "student" if student else "label", shrunk)
                for vector, student in zip(subnets, distilled, strict=True)
            ),
        )
