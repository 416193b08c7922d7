"""What a search must know of its candidates, and nothing more: genes, exact costs, what a predictor sees.

A supernet with a target is one such problem (``objectives.CandidateCosts``); a table of known accuracies is another.
See ``docs/search.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy.predictor import Features, gene_features
from search_spaces.architecture import Architecture, Choice
from search_spaces.errors import UserError
from search_spaces.space import Family, Gene, SearchSpace, Segment, Vectors

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

    space: SearchSpace
    costs: Callable[[Vectors], Floats]
    features: Callable[[Vectors], Features]
    violation: Callable[[Vectors], Floats]


def problem(
    space: SearchSpace,
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


class _GenesAlone(Family):
    """A family that builds no networks: accuracies come from elsewhere."""

    def __init__(self, genes: Sequence[Gene]) -> None:
        self._genes = tuple(genes)

    def genes(self) -> tuple[Gene, ...]:
        return self._genes

    def segments(self) -> tuple[Segment, ...]:
        return ()

    def timm_spec(self, architecture: Architecture, num_classes: int, in_chans: int) -> dict[str, Any]:
        raise UserError(f"space '{architecture.space}' has genes alone and builds no networks")


def plain_space(name: str, genes: Mapping[str, Sequence[Choice]] | Sequence[Gene]) -> SearchSpace:
    """A search space of genes alone, given as name -> choices (ascending) or, with gates, as :class:`Gene` objects."""
    if isinstance(genes, Mapping):
        genes = [Gene(gene, tuple(choices)) for gene, choices in genes.items()]
    return SearchSpace(name, _GenesAlone(genes))
