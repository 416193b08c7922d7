"""Nested subnets (Valipour et al., SortedNet, arXiv:2309.00255)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.architecture import Architecture

from .base import LossOf, Pass, RunFacts
from .sizes import chain

_SMALLEST_PART = 16  # images: fewer are too few for batch statistics


@dataclass(frozen=True)
class Sorted:
    """A fixed list of subnets, each a part of the next; every part of a batch trains a random one of them.

    Nothing has to be searched afterwards: :attr:`nested` holds a trained network for every budget. Others of the space
    are not trained.

    Attributes:
        subnets: length of the list; less in a space that has fewer sizes.
        parts: of a batch, whose gradients are averaged; fewer where the batch is small.
    """

    facts: RunFacts
    subnets: int = 8
    parts: int = 4

    @cached_property
    def nested(self) -> tuple[Architecture, ...]:
        """From the smallest to the largest, every gene non-decreasing, MACs about geometrically spaced."""
        space = self.facts.space
        path = np.unique(space.canonical(chain(space)), axis=0)  # along the chain rows also ascend in this order
        macs = np.log(self.facts.macs(path))
        targets = np.linspace(macs[0], macs[-1], self.subnets)
        chosen = {int(np.abs(macs - target).argmin()) for target in targets} | {0, len(path) - 1}
        return tuple(space.decode(path[i]) for i in sorted(chosen))

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        parts = max(1, min(self.parts, self.facts.batch_size // _SMALLEST_PART))
        chosen = rng.integers(0, len(self.nested), parts)
        return tuple(Pass(self.nested[n], "label", 1 / parts, (i, parts)) for i, n in enumerate(chosen))
