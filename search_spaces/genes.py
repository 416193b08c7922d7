"""Genes, and the algebra over them: sample, encode, mutate, count, neighbours. Needs numpy alone, and no networks.

A *vector* is an int64 array with one choice index per gene. It is *canonical* when every inactive gene is 0. All
methods that take vectors take a population of shape ``[n, genes]`` and work on it at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from .architecture import Architecture, Choice
from .errors import UsageError, UserError

Vectors = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gene:
    """One decision, such as ``s2.b0.kernel`` (stage 2, block 0).

    Choices ascend, so that index 0 is the smallest network. With a ``gate`` ``(gene, minimum)`` it is active only where
    that gene's value is at least ``minimum``.
    """

    name: str
    choices: tuple[Choice, ...]
    gate: tuple[str, Choice] | None = None

    @property
    def kind(self) -> str:
        """The last part of its name: ``kernel``."""
        return self.name.rpartition(".")[2]

    def __post_init__(self) -> None:
        """Raises UsageError where choices aren't ascending numbers."""
        if not all(isinstance(choice, int | float) for choice in self.choices):
            raise UsageError(f"gene '{self.name}' has choices that aren't numbers; number them and keep their names")
        if list(self.choices) != sorted(set(self.choices)):
            given = ", ".join(map(str, self.choices))
            raise UsageError(f"gene '{self.name}' has the choices {given}; give each once, the smallest first")


@dataclass(frozen=True)
class GeneSpace:
    """All combinations of some genes, the columns of a vector. Gating genes are themselves ungated, which keeps
    counting exact and simple."""

    name: str
    genes: tuple[Gene, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Gene name -> column."""
        return {gene.name: i for i, gene in enumerate(self.genes)}

    @cached_property
    def cardinality(self) -> Vectors:
        """Number of choices of each gene, shape ``[genes]``."""
        return np.array([len(g.choices) for g in self.genes], dtype=np.int64)

    @cached_property
    def _gates(self) -> list[tuple[int, int, int]]:
        """(gene, gating gene, smallest open index of the gating gene)."""
        return [(i, *self.gate_index(gene.gate)) for i, gene in enumerate(self.genes) if gene.gate is not None]

    def gate_index(self, gate: tuple[str, Choice]) -> tuple[int, int]:
        """A gate as (column, smallest open index)."""
        column = self.index[gate[0]]
        choices = self.genes[column].choices
        return column, next(j for j, choice in enumerate(choices) if choice >= gate[1])

    def active(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Mask of shape ``[n, genes]``: which genes count."""
        mask = np.ones(vectors.shape, dtype=bool)
        for gene, column, minimum in self._gates:
            mask[:, gene] = vectors[:, column] >= minimum
        return mask

    def canonical(self, vectors: Vectors) -> Vectors:
        """The same networks with inactive genes set to 0."""
        return np.where(self.active(vectors), vectors, 0)

    def sample(self, rng: np.random.Generator, n: int) -> Vectors:
        """``n`` canonical vectors, every gene uniform (duplicates possible)."""
        return self.canonical(rng.integers(0, self.cardinality, size=(n, len(self.genes))))

    def extremes(self) -> Vectors:
        """The smallest and the largest network, shape ``[2, genes]``."""
        top = self.cardinality - 1
        return self.canonical(np.stack([np.zeros_like(top), top]))

    @property
    def smallest(self) -> Architecture:
        return self.decode(self.extremes()[0])

    @property
    def largest(self) -> Architecture:
        return self.decode(self.extremes()[1])

    def mutate(self, rng: np.random.Generator, vectors: Vectors, rate: float) -> Vectors:
        """Reset each active gene with probability ``rate`` to another choice; at least one gene of a row changes."""
        vectors = self.canonical(vectors)
        movable = self.active(vectors) & (self.cardinality > 1)
        hit = (rng.random(vectors.shape) < rate) & movable
        forced = np.argmax(rng.random(vectors.shape) * movable, axis=1)
        rows = np.flatnonzero(~hit.any(axis=1) & movable.any(axis=1))
        hit[rows, forced[rows]] = True
        step = rng.integers(1, np.maximum(self.cardinality, 2), size=vectors.shape)
        changed = np.where(hit, (vectors + step) % self.cardinality, vectors)
        return self.canonical(changed)

    @cached_property
    def size(self) -> int:
        """Exact number of different architectures."""
        gating = {column for _, column, _ in self._gates}
        total = 1
        for column, gene in enumerate(self.genes):
            if gene.gate is None and column not in gating:
                total *= len(gene.choices)
        for column in gating:
            total *= sum(
                math.prod(
                    len(self.genes[gated].choices)
                    for gated, gate, minimum in self._gates
                    if gate == column and choice >= minimum
                )
                for choice in range(len(self.genes[column].choices))
            )
        return total

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once, of a space small enough to walk through."""
        return map(self.decode, all_vectors(self))

    def encode(self, architecture: Architecture) -> Vectors:
        """Canonical vector of shape ``[genes]``. Raises UserError where a gene is missing, unknown or inactive, or its
        value is not among the choices."""
        values: Mapping[str, Choice] = dict(architecture.genes)
        vector = np.zeros(len(self.genes), dtype=np.int64)
        for i, gene in enumerate(self.genes):
            if gene.name in values:
                if values[gene.name] not in gene.choices:
                    raise UserError(
                        f"{gene.name} = {values[gene.name]} is not in space '{self.name}': "
                        f"choices are {', '.join(map(str, gene.choices))}"
                    )
                vector[i] = gene.choices.index(values[gene.name])
        expected = {self.genes[i].name for i in np.flatnonzero(self.active(vector[None])[0])}
        if wrong := sorted(expected.symmetric_difference(values)):
            raise UserError(f"not an architecture of space '{self.name}': gene {wrong[0]} is missing or not active")
        return vector

    def encode_many(self, architectures: list[Architecture]) -> Vectors:
        """Vectors of shape ``[n, genes]``."""
        rows = [self.encode(a) for a in architectures]
        return np.stack(rows) if rows else np.zeros((0, len(self.genes)), dtype=np.int64)

    def decode(self, vector: Vectors) -> Architecture:
        """The architecture of a vector of shape ``[genes]``; inactive genes are ignored."""
        mask = self.active(np.asarray(vector)[None])[0]
        genes = tuple((gene.name, gene.choices[int(vector[i])]) for i, gene in enumerate(self.genes) if mask[i])
        return Architecture(self.name, genes)


@lru_cache(maxsize=1)
def all_vectors(space: GeneSpace) -> Vectors:
    """Every canonical vector of a space once, ``[size, genes]``."""
    free = [n if gene.gate is None else 1 for gene, n in zip(space.genes, space.cardinality, strict=True)]
    vectors = np.stack(np.unravel_index(np.arange(int(np.prod(free))), free), axis=1)
    for column, gene in enumerate(space.genes):
        if gene.gate is not None:
            gate, minimum = space.gate_index(gene.gate)
            there = vectors[vectors[:, gate] >= minimum]
            others = np.repeat(there, space.cardinality[column] - 1, axis=0)
            others[:, column] = np.tile(np.arange(1, space.cardinality[column]), len(there))
            vectors = np.concatenate([vectors, others])
    return vectors
