"""Preferred subnets (Wang et al., PreNAS, arXiv:2304.14636): choose by an untrained score, then train the chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.architecture import Architecture

from .base import LossOf, Pass, RunFacts
from .pool import macs_pool
from .saliency import saliency, scores


@dataclass(frozen=True)
class Preferred:
    """A few subnets of every size, chosen by a zero-cost score before training; one of them a step.

    The score is :mod:`.saliency`. It grows with size, so candidates are compared by how far it lies above the line
    through all candidates in log MACs; the paper compares networks of like size. Groups are drawn equally often.

    Attributes:
        groups: ranges of MACs of equal width.
        best: subnets of a group. The smallest and the largest subnet of the space are among those of the end groups.
        candidates: scored, their MACs spread evenly between the extremes.
    """

    facts: RunFacts
    groups: int = 6
    best: int = 3
    candidates: int = 120

    @cached_property
    def preferred(self) -> tuple[tuple[Architecture, ...], ...]:
        """The subnets to train, by group, ascending in MACs."""
        space = self.facts.space
        vectors, macs = macs_pool(self.facts)
        nearest = [int(np.abs(macs - target).argmin()) for target in np.linspace(macs[0], macs[-1], self.candidates)]
        rows = np.unique([*nearest, 0, len(macs) - 1])
        found = [space.decode(vectors[row]) for row in rows]
        net = self.facts.initial()
        value, size = np.log(scores(net, found, saliency(net, self.facts.seed))), np.log(macs[rows])
        spread = np.var(size)
        slope = np.mean((size - size.mean()) * value) / spread if spread else 0.0
        value = value - slope * size
        value[[0, -1]] = np.inf
        width = (macs[-1] - macs[0]) / self.groups or 1.0
        group = np.minimum((macs[rows] - macs[0]) // width, self.groups - 1)
        chosen = []
        for number in np.unique(group):
            members = np.flatnonzero(group == number)
            best = members[np.argsort(-value[members], kind="stable")[: self.best]]
            chosen.append(tuple(found[i] for i in sorted(best)))
        return tuple(chosen)

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        group = self.preferred[int(rng.integers(len(self.preferred)))]
        return (Pass(group[int(rng.integers(len(group)))]),)
