"""What a sampling strategy is: it chooses the subnets that a training step visits.

Its random generator is seeded from (seed, step), so that passes don't depend on earlier steps: resuming is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from predictors.costs.network import total_macs
from predictors.costs.tables import CostTables
from search_spaces.architecture import Architecture, Interface
from search_spaces.genes import Floats, Vectors
from search_spaces.policy import Policy
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.quantization.fake import Fake
    from nas.supernet.supernet import Supernet

RANDOM, NETWORK, SUPERNET = "random", "network", "supernet"
"""First weights: random ones, those of an ordinary network, or those of a supernet, whose subnets are trained."""

LossOf = Callable[[Architecture], float]
"""Loss of a subnet on the step's own batch, without gradient; the same number on every process of a run."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        role: ``label``: learns from the labels; ``teacher``: likewise, and its output teaches the passes after it;
            ``student``: learns from the teacher's output.
        weight: factor on its loss.
        part: ``(i, n)``: it sees the i-th of n equal parts of the batch. A teacher's part is its students'.
        policy: of its quantized form, where the run trains that; None: one is drawn.
        fake: how it is quantized; strategies leave that open.
    """

    architecture: Architecture
    role: str = "label"
    weight: float = 1.0
    part: tuple[int, int] = (0, 1)
    policy: Policy | None = None
    fake: Fake | None = None


@dataclass(frozen=True)
class RunFacts:
    """What a strategy may know of a run. It is the same when the run resumes.

    Attributes:
        steps: of the whole run.
        initial: makes the supernet as it was before the first step.
        batch_size: images per step, which a strategy that splits the batch (:attr:`Pass.part`) must know.
        adapt_share: share of the steps that train the largest alone, where a strategy does that.
        start: the first weights: :data:`RANDOM`, :data:`NETWORK` or :data:`SUPERNET`.
    """

    space: SearchSpace
    steps: int
    interface: Interface
    seed: int
    initial: Callable[[], Supernet]
    batch_size: int = 64
    adapt_share: float = 0.5
    start: str = RANDOM

    @cached_property
    def _tables(self) -> CostTables:
        return CostTables(self.space, self.interface)

    def macs(self, vectors: Vectors) -> Floats:
        """Multiply-accumulates of vectors ``[n, genes]``, shape ``[n]``."""
        return total_macs(self._tables.features(vectors))


def sample_from(space: SearchSpace, rng: np.random.Generator, lowest: Vectors, n: int) -> Vectors:
    """``n`` canonical vectors ``[n, genes]``, every gene uniform from choice ``lowest[gene]`` up."""
    return space.canonical(rng.integers(lowest, space.cardinality, size=(n, len(space.genes))))


class Strategy(Protocol):
    """Chooses a step's passes.

    Making one must be cheap, since it is also made to learn whether it suits the space; what takes longer waits for
    the first call of ``passes``.
    """

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]: ...
