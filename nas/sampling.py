"""Which subnets a training step visits.

A strategy maps (step, random generator) to passes. The generator is seeded from (seed, step), so a step's passes do
not depend on the steps before it, which makes resuming exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.errors import unknown_name
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        architecture: the subnet.
        role: ``label``: learns from the labels; ``teacher``: likewise, and its logits teach the passes after it;
            ``student``: learns from the teacher's logits.
    """

    architecture: Architecture
    role: str


class Strategy(Protocol):
    """Chooses a step's passes."""

    def passes(self, rng: np.random.Generator) -> tuple[Pass, ...]: ...


@dataclass(frozen=True)
class SingleRandom:
    """One uniformly random subnet a step, learning from the labels. The best choice for small budgets."""

    space: SearchSpace

    def passes(self, rng: np.random.Generator) -> tuple[Pass, ...]:
        return (Pass(self.space.decode(self.space.sample(rng, 1)[0]), "label"),)


@dataclass(frozen=True)
class Sandwich:
    """Largest, smallest and random subnets; all but the largest learn from the largest (in-place distillation).

    Yu et al., BigNAS, arXiv:2003.11142.
    """

    space: SearchSpace
    middle: int = 2

    def passes(self, rng: np.random.Generator) -> tuple[Pass, ...]:
        smallest, largest = self.space.extremes()
        students = [*self.space.sample(rng, self.middle), smallest]
        return (
            Pass(self.space.decode(largest), "teacher"),
            *(Pass(self.space.decode(v), "student") for v in students),
        )


STRATEGIES: dict[str, Callable[[SearchSpace], Strategy]] = {"random": SingleRandom, "sandwich": Sandwich}


def get_strategy(name: str, space: SearchSpace) -> Strategy:
    """Raises UsageError where the name is unknown."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name](space)
