"""What a search must know of its candidates, and nothing more: genes, exact costs, what a predictor sees.

A supernet with a target is one such problem (``costs.CandidateCosts``); a table of known accuracies is another.
See ``docs/search.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from predictors.accuracy.features import Features, gene_features
from search_spaces.genes import Floats, GeneSpace, Vectors


@dataclass(frozen=True)
class Problem:
    """Candidates that differ in genes; the error of each must be measured, its costs are known.

    Of vectors ``[n, genes]``, ``assess`` gives the exact costs ``[n, k]``, all minimised beside the error, and by how
    much they break the bounds ``[n]`` (0: not at all), and ``features`` what the accuracy predictor sees.
    """

    space: GeneSpace
    assess: Callable[[Vectors], tuple[Floats, Floats]]
    features: Callable[[Vectors], Features]

    def costs(self, vectors: Vectors) -> Floats:
        """Exact costs ``[n, k]``."""
        return self.assess(vectors)[0]

    def violation(self, vectors: Vectors) -> Floats:
        """By how much vectors break the bounds, ``[n]``."""
        return self.assess(vectors)[1]


def problem(
    space: GeneSpace,
    costs: Callable[[Vectors], Floats],
    features: Callable[[Vectors], Features] | None = None,
    violation: Callable[[Vectors], Floats] | None = None,
) -> Problem:
    """A :class:`Problem` of functions of vectors ``[n, genes]``.

    Args:
        costs: exact costs ``[n, k]``.
        features: what the accuracy predictor sees; None: the genes and the logarithms of the costs.
        violation: by how much vectors break the bounds ``[n]``; None: there are no bounds.
    """

    def plain(vectors: Vectors) -> Features:
        return Features(gene_features(space, vectors), np.log(np.maximum(costs(vectors), 1e-12)))

    def assess(vectors: Vectors) -> tuple[Floats, Floats]:
        return costs(vectors), np.zeros(len(vectors)) if violation is None else violation(vectors)

    return Problem(space, assess, features or plain)
