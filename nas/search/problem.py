"""What a search must know of its candidates, and nothing more: genes, exact costs, what a predictor sees.

A supernet with a target is one such problem (``objectives.CandidateCosts``); a table of known accuracies is another.
See ``docs/search.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy.predictor import Features, gene_features
from search_spaces.architecture import Choice
from search_spaces.genes import Gene, GeneSpace, Vectors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Candidates that differ in genes; the error of each must be measured, its costs are known.

    Attributes:
        space: whose vectors ``[n, genes]`` are the candidates.
        costs: vectors to exact costs ``[n, k]``, all minimised beside the error.
        features: vectors to what the accuracy predictor sees.
        violation: vectors to by how much they break the bounds ``[n]``; 0: not at all.
    """

    space: GeneSpace
    costs: Callable[[Vectors], Floats]
    features: Callable[[Vectors], Features]
    violation: Callable[[Vectors], Floats]


def problem(
    space: GeneSpace,
    costs: Callable[[Vectors], Floats],
    features: Callable[[Vectors], Features] | None = None,
    violation: Callable[[Vectors], Floats] | None = None,
) -> Problem:
    """A :class:`Problem`; without ``features`` the predictor sees the genes and the logarithms of the costs."""

    def plain(vectors: Vectors) -> Features:
        return Features(gene_features(space, vectors), np.log(np.maximum(costs(vectors), 1e-12)))

    def unbounded(vectors: Vectors) -> Floats:
        return np.zeros(len(vectors))

    return Problem(space, costs, features or plain, violation or unbounded)


def plain_space(name: str, genes: Mapping[str, Sequence[Choice]] | Sequence[Gene]) -> GeneSpace:
    """A search space of genes alone, given as name -> choices (ascending) or, with gates, as :class:`Gene` objects."""
    if isinstance(genes, Mapping):
        genes = [Gene(gene, tuple(choices)) for gene, choices in genes.items()]
    return GeneSpace(name, tuple(genes))
