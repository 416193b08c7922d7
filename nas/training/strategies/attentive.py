"""Attentive sampling (Wang et al., AttentiveNAS, arXiv:2011.09011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Architecture

from .base import LossOf, Pass, RunFacts

_DRAWN = 64  # vectors among which those of like MACs are found


@dataclass(frozen=True)
class Attentive:
    """A sandwich whose middle subnets are the best or the worst of ``candidates`` with nearly equal MACs.

    MACs are drawn as those of a random subnet are distributed; candidates of about these MACs are compared by their
    loss on the step's batch (the paper's ``minibatch loss``). Costs ``middle * candidates`` forward passes per step.

    Attributes:
        worst: train the candidate of the highest loss (worst-up), not the lowest (best-up).
        middle: subnets between the extremes.
        candidates: compared for each, the paper's k.
    """

    facts: RunFacts
    worst: bool = False
    middle: int = 2
    candidates: int = 3

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space = self.facts.space
        smallest, largest = (space.decode(v) for v in space.extremes())
        pick = max if self.worst else min
        chosen = [pick(group, key=loss_of) for group in self._groups(rng)]
        return (Pass(largest, "teacher"), *(Pass(a, "student") for a in (*chosen, smallest)))

    def _groups(self, rng: np.random.Generator) -> list[list[Architecture]]:
        """For each middle subnet its candidates. The first vector drawn sets the MACs; the nearest others join it."""
        space = self.facts.space
        vectors = space.sample(rng, self.middle * _DRAWN).reshape(self.middle, _DRAWN, -1)
        macs = self.facts.macs(vectors.reshape(self.middle * _DRAWN, -1)).reshape(self.middle, _DRAWN)
        groups = []
        for rows, costs in zip(vectors, macs, strict=True):
            nearest = np.argsort(np.abs(costs - costs[0]), kind="stable")
            distinct = dict.fromkeys(space.decode(rows[i]) for i in nearest[: 2 * self.candidates])
            groups.append(list(distinct)[: self.candidates])
        return groups


@dataclass(frozen=True)
class AttentiveWorst(Attentive):
    """As :class:`Attentive`, with the candidates of the highest loss."""

    worst: bool = True
