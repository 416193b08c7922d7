"""What accuracy predictors see of candidates, and what they learn: the logarithm of the error.

A predictor sees the genes (those of absent blocks masked) and the *physics* of a network: log MACs, log parameters and
the depth of its stages. These are exact and free, so they are given and never predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.costs.network import COLUMN, FEATURES, total_macs
from predictors.costs.tables import CostTables
from search_spaces.architecture import Choice
from search_spaces.genes import Floats, GeneSpace, Vectors

_COUNTED = np.stack([total_macs(np.eye(len(FEATURES))), np.eye(len(FEATURES))[COLUMN["params"]]], axis=1)
"""Weights of cost features that sum up to MACs, and to parameters; ``[features, 2]``."""
_BEND = 0.5
"""Height of the parabola of a gene in units of the gene itself."""
_LEAST_ERROR = 1e-4
FENCE = 2.0


@dataclass(frozen=True)
class Features:
    """What a predictor sees of ``n`` candidates: ``[n, g]`` of :func:`gene_features`, and ``[n, p]`` of
    :func:`physics_features` or any other exact figures of a network."""

    genes: Floats
    physics: Floats

    def __len__(self) -> int:
        return len(self.genes)

    def __getitem__(self, rows: Any) -> Features:
        return Features(self.genes[rows], self.physics[rows])

    def columns(self) -> Floats:
        """Both side by side, ``[n, g + p]``."""
        return np.concatenate([self.genes, self.physics], axis=1)


def gene_features(space: GeneSpace, vectors: Vectors) -> Floats:
    """Genes ``[n, genes + bent + shared]``, those of absent blocks 0; a typical squared norm of the genes is 1.

    - Every gene: minus the reciprocal of the chosen value, from -1 (smallest choice) to 1 (largest). Accuracy saturates
      in depth, width, expansion and resolution: from 2 to 3 brings more than from 3 to 4, and the reciprocal makes a
      straight line of that.
    - Genes with three choices or more: a parabola of half the height, since the middle can be better than both ends.
    - Sums of both over genes of one kind (all kernels, all expansions; what stands behind a name's last dot): an effect
      seen in some blocks is expected in the others.
    """
    active = space.active(vectors)
    table = _gene_table(space)
    straight = table.straight[np.arange(len(space.genes)), vectors] * active
    bent = table.bent[np.arange(len(table.columns)), vectors[:, table.columns]] * active[:, table.columns]
    each = np.concatenate([straight, bent], axis=1)
    return np.concatenate([each, each @ table.shared], axis=1)


def physics_features(space: GeneSpace, tables: CostTables, vectors: Vectors) -> Floats:
    """Log MACs, log parameters, and every gene that gates others (the depths) on [-1, 1]; ``[n, 2 + depths]``."""
    columns = [np.log(tables.additive(_COUNTED, vectors))]
    for column in sorted({space.index[gene.gate[0]] for gene in space.genes if gene.gate is not None}):
        columns.append(_saturating(space.genes[column].choices)[vectors[:, column], None])
    return np.concatenate(columns, axis=1)


def space_features(space: GeneSpace, tables: CostTables, vectors: Vectors) -> Features:
    """What a predictor sees of vectors ``[n, genes]`` of a space."""
    return Features(gene_features(space, vectors), physics_features(space, tables, vectors))


@dataclass(frozen=True)
class _GeneTable:
    """The numbers that represent the choices of a space's genes.

    Attributes:
        straight: of every gene, ``[genes, most choices]``.
        bent: the parabolas, ``[bent, most choices]``.
        columns: the genes that have one, ``[bent]``.
        shared: which columns of both are summed up, divided by the root of their number, ``[genes + bent, shared]``.
    """

    straight: Floats
    bent: Floats
    columns: NDArray[np.int64]
    shared: Floats


@lru_cache(maxsize=16)
def _gene_table(space: GeneSpace) -> _GeneTable:
    straight = np.zeros((len(space.genes), max(len(gene.choices) for gene in space.genes)))
    bent = np.zeros_like(straight)
    for column, gene in enumerate(space.genes):
        count = len(gene.choices)
        if count > 1:
            straight[column, :count] = _saturating(gene.choices)
            bent[column, :count] = _BEND * (1.0 - 2.0 * np.linspace(-1.0, 1.0, count) ** 2)
    columns = np.array([i for i, gene in enumerate(space.genes) if len(gene.choices) > 2], dtype=np.int64)
    norm = np.sqrt(max(len(space.genes), 1) / 2.0)
    kinds = [(gene.kind, "straight") for gene in space.genes]
    kinds += [(kinds[column][0], "bent") for column in columns]
    groups = [np.array([kind == other for other in kinds]) for kind in dict.fromkeys(kinds) if kinds.count(kind) > 1]
    shared = np.stack([g / np.sqrt(g.sum()) for g in groups], axis=1) if groups else np.zeros((len(kinds), 0))
    return _GeneTable(straight / norm, bent[columns] / norm, columns, shared)


def _saturating(choices: tuple[Choice, ...]) -> Floats:
    """Minus the reciprocals of ascending choices, stretched to [-1, 1]; equal steps where a choice is not positive."""
    values = np.array(choices, dtype=np.float64)
    values = -1.0 / values if values[0] > 0 else np.arange(len(values), dtype=np.float64)
    scaled: Floats = 2.0 * (values - values[0]) / (values[-1] - values[0]) - 1.0
    return scaled


def warp(accuracy: Floats) -> Floats:
    """Minus the logarithm of the error, what predictors learn: a tenth less error counts the same everywhere.

    Networks that learned nothing lie so far below that they would decide the fit; values further below the first
    quartile than twice the distance between the quartiles are raised to there (Tukey's fences).
    """
    learned = -np.log(np.maximum(1.0 - accuracy, _LEAST_ERROR))
    low, high = np.quantile(learned, [0.25, 0.75])
    fenced: Floats = np.maximum(learned, low - FENCE * max(high - low, 1e-9))
    return fenced


def unwarp(learned: Floats) -> Floats:
    """Inverse of :func:`warp`, but for its fence. The slope, for deviations, is one minus this."""
    accuracy: Floats = 1.0 - np.exp(-learned)
    return accuracy
