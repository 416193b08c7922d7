"""Candidates: an architecture with a precision policy, and the space of both that a search walks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.genes import Gene, GeneSpace, Vectors
from search_spaces.policy import INT8, WEIGHT_BITS, Policy, make_policy, parse_policy, stages_of
from search_spaces.space import SearchSpace

OUTER = "outer"
"""Stands for what belongs to no stage, in the names of genes."""


@dataclass(frozen=True)
class Candidate:
    """An architecture with a precision policy, written as in ``search_spaces.policy``."""

    architecture: Architecture
    precision: str

    @property
    def policy(self) -> Policy:
        return parse_policy(self.precision)

    @property
    def id(self) -> str:
        """Name in tables and folders: ``1f0c9a2e-int8``, or ``1f0c9a2e-mixed-77ab``."""
        label = self.policy.label
        if label == self.precision:
            return f"{self.architecture.id}-{label}"
        return f"{self.architecture.id}-{label}-{hashlib.sha256(self.precision.encode()).hexdigest()[:4]}"


@dataclass(frozen=True)
class CandidateSpace:
    """Architectures of a space, each with every policy over a menu of precisions.

    A menu of one precision adds no genes: vectors are the space's own. Otherwise every stage has a gene more, the bits
    of its weights, and so has what belongs to no stage (stem and head).
    """

    architectures: SearchSpace
    menu: tuple[str, ...]

    @cached_property
    def space(self) -> GeneSpace:
        """Of vectors ``[n, genes]``; the columns of policies, if any, are the last."""
        if len(self.menu) == 1:
            return self.architectures
        bits = tuple(WEIGHT_BITS[name] for name in self._names)
        genes = [Gene(f"{stage}.bits", bits) for stage in (OUTER, *stages_of(self.architectures))]
        return GeneSpace(self.architectures.name, (*self.architectures.genes, *genes))

    @cached_property
    def _names(self) -> list[str]:
        """Precisions by the index of a gene's choice."""
        return sorted(self.menu, key=lambda name: WEIGHT_BITS[name])

    @property
    def _own(self) -> int:
        return len(self.architectures.genes)

    @property
    def start(self) -> Vectors:
        """The smallest architecture, int8 everywhere where that is on the menu, else with most bits; ``[genes]``."""
        vector: Vectors = self.space.extremes()[0]
        vector[self._own :] = self._names.index(INT8) if INT8 in self.menu else len(self.menu) - 1
        return vector

    def parts(self, vectors: Vectors) -> Vectors:
        """Numbers in ``menu`` of each candidate's precisions, ``[n, 1 + stages]``; see ``PolicyCosts``."""
        if len(self.menu) == 1:
            return np.zeros((len(vectors), 1 + len(stages_of(self.architectures))), dtype=np.int64)
        order = np.array([self.menu.index(name) for name in self._names])
        numbers: Vectors = order[vectors[:, self._own :]]
        return numbers

    def candidates(self, vectors: Vectors) -> list[Candidate]:
        """The candidates of vectors ``[n, genes]``."""
        stages, found = stages_of(self.architectures), []
        for vector, parts in zip(vectors, self.parts(vectors), strict=True):
            outer, *rest = (self.menu[i] for i in parts)
            policy = make_policy(outer, zip(stages, rest, strict=True))
            found.append(Candidate(self.architectures.decode(vector[: self._own]), str(policy)))
        return found

    def vectors(self, candidates: Sequence[Candidate]) -> Vectors:
        """The inverse of :meth:`candidates`; every candidate must be held (see ``in``)."""
        own = self.architectures.encode_many([c.architecture for c in candidates])
        if len(self.menu) == 1:
            return own
        stages = stages_of(self.architectures)
        policies = [c.policy for c in candidates]
        bits = [[self._names.index(n) for n in (p.outer, *map(p.of, stages))] for p in policies]
        return np.concatenate([own, np.array(bits, dtype=np.int64).reshape(len(own), 1 + len(stages))], axis=1)

    def __contains__(self, candidate: Candidate) -> bool:
        """Whether a candidate of the space has a policy over the menu, stage by stage."""
        policy, stages = candidate.policy, stages_of(self.architectures)
        return set(policy.precisions) <= set(self.menu) and {s for s, _ in policy.stages} <= set(stages)
