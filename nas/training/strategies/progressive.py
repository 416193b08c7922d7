"""Progressive shrinking (Cai et al., Once-for-All, arXiv:1908.09791, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.errors import UsageError
from search_spaces.genes import Vectors
from search_spaces.space import SearchSpace

from .base import LossOf, Pass, RunFacts, sample_from

FULL_EPOCHS = 180
"""The largest network alone."""

PHASES = (
    ("kernel", ("kernel",), 1, (125,)),
    ("depth", ("depth",), 2, (25, 125)),
    ("expand", ("expand", "heads"), 4, (25, 125)),
    ("width", ("width",), 4, (25, 125)),
)
"""Name, the genes that become elastic, subnets per step, and the epochs of its one or two parts (the smallest choices
wait for the second), as published for ImageNet. The paper's main space has no elastic width; it is given what the
expansion gets. Heads are to attention what the expansion is to a convolution block."""


@dataclass(frozen=True)
class Phase:
    """Part of a run.

    Attributes:
        name: ``full``, or what became elastic last.
        lowest: smallest choice of every gene, ``[genes]``.
        subnets: that learn from the largest, a step.
    """

    name: str
    start: int
    lowest: Vectors
    subnets: int


@dataclass(frozen=True)
class Progressive:
    """The largest alone, then kernel, depth, expansion and width become elastic one after the other.

    Every step trains the largest on the labels, and after the first phase 1, 2 or 4 subnets on its output of that
    moment (the paper has a frozen copy of it, and adds the labels' loss). Phases take the published shares of the run;
    those whose genes the space lacks are left out. The resolution is elastic from the first subnet on. Raises
    UsageError: the space has none of these genes.
    """

    facts: RunFacts

    def __post_init__(self) -> None:
        if not any(_elastic(self.facts.space, kinds) for _, kinds, _, _ in PHASES):
            raise UsageError(
                f"strategy 'progressive' makes kernel, depth, expand and width elastic one after the other; "
                f"space '{self.facts.space.name}' has none of them: use `strategy` random or sandwich"
            )

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        space = self.facts.space
        lowest = np.array([0 if gene.kind == "resolution" else len(gene.choices) - 1 for gene in space.genes])
        parts = [("full", lowest, 0, FULL_EPOCHS)]
        for name, kinds, subnets, epochs in PHASES:
            genes = _elastic(space, kinds)
            for kept, length in zip((1, 0)[-len(epochs) :], epochs, strict=True):
                lowest = lowest.copy()
                # In a first part all but the two largest choices wait, as the paper opens depth {3, 4} before 2.
                lowest[genes] = np.maximum(space.cardinality[genes] - 2, 0) if kept else 0
                if genes:
                    parts.append((name, lowest, subnets, length))
        total = sum(epochs for *_, epochs in parts)
        before = np.cumsum([0, *(epochs for *_, epochs in parts)])
        return tuple(
            Phase(name, round(self.facts.steps * int(passed) / total), low, subnets)
            for (name, low, subnets, _), passed in zip(parts, before[:-1], strict=True)
        )

    def phase(self, step: int) -> Phase:
        return next(phase for phase in reversed(self.phases) if phase.start <= step)

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        space, phase = self.facts.space, self.phase(step)
        students = sample_from(space, rng, phase.lowest, phase.subnets)
        return (
            Pass(space.largest, "teacher" if phase.subnets else "label"),
            *(Pass(space.decode(v), "student") for v in students),
        )


def _elastic(space: SearchSpace, kinds: tuple[str, ...]) -> list[int]:
    """Columns of genes of these kinds that have a choice."""
    return [i for i, gene in enumerate(space.genes) if gene.kind in kinds and len(gene.choices) > 1]
