"""Training known networks, each alone or inside wider ones (NetAug: Cai et al., arXiv:2110.08890).

A tiny network underfits. NetAug lets it work as a part of wider networks that share its weights, which gives them an
additional gradient, and keeps the tiny one alone. A supernet is such a family of wider networks already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.training.strategies.base import LossOf, Pass
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError
from search_spaces.genes import Gene, Vectors
from search_spaces.policy import Policy
from search_spaces.space import SearchSpace

FACTORS = {"width": 2.6, "heads": 2.6, "expand": 2.8}
"""How much more of a kind of gene a wider network may have, as published; heads are an attention's width."""


@dataclass(frozen=True)
class Fixed:
    """The same network every step, learning from the labels; with ``netaug`` also a random one that contains it.

    Both losses count in full. Genes of the wider network are uniform from the network's own choice up, to the largest
    within :data:`FACTORS` where the gene is of these kinds; blocks that the network lacks are free. The paper widens
    only; deeper networks and larger kernels contain the small one as well. Both see images of the same side, and are
    quantized by the ``policy``, where the run quantizes. Raises
    UsageError: ``netaug``, and no network of the space contains this one; UserError: the architecture is not one of the
    space.
    """

    space: SearchSpace
    architecture: Architecture
    netaug: bool = False
    policy: Policy | None = None

    def __post_init__(self) -> None:
        if self.netaug and (self.bounds[0] == self.bounds[1]).all():
            raise UsageError(
                f"`netaug` trains {self.architecture.id} inside wider networks, and space '{self.space.name}' has none "
                "that contain it; leave it out, or give a smaller candidate"
            )

    @cached_property
    def bounds(self) -> Vectors:
        """Smallest and largest choice of every gene of the wider network, ``[2, genes]``."""
        own = self.space.encode(self.architecture)
        active = self.space.active(own[None])[0]
        top = [
            _highest(gene, int(choice)) if there else len(gene.choices) - 1
            for gene, choice, there in zip(self.space.genes, own, active, strict=True)
        ]
        lowest, highest = np.where(active, own, 0), np.array(top, dtype=np.int64)
        # a block that no wider network can have leaves nothing to widen
        reachable = self.space.active(highest[None])[0]
        return np.stack([lowest, np.where(reachable, highest, lowest)])

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        base = Pass(self.architecture, policy=self.policy)
        if not self.netaug:
            return (base,)
        wider = self.space.canonical(rng.integers(self.bounds[0], self.bounds[1] + 1)[None])[0]
        return base, Pass(self.space.decode(wider), policy=self.policy)


@dataclass(frozen=True)
class InTurn:
    """Several networks, one per step, each in its turn, so that all are trained equally."""

    networks: tuple[Fixed, ...]

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        return self.networks[step % len(self.networks)].passes(step, rng, loss_of)


def _highest(gene: Gene, own: int) -> int:
    """The largest choice of an active gene whose own choice is ``own``."""
    if gene.kind == "resolution":
        return own
    limit = FACTORS.get(gene.kind, np.inf) * gene.choices[own]
    return max(i for i, choice in enumerate(gene.choices) if i == own or choice <= limit)
