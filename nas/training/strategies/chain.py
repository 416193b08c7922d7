"""A path from the smallest network of a space to the largest, on which every network holds those before it."""

from __future__ import annotations

import numpy as np

from search_spaces.genes import Vectors
from search_spaces.space import SearchSpace

_GOLDEN = (5**0.5 - 1) / 2


def chain(space: SearchSpace) -> Vectors:
    """Vectors ``[m + 1, genes]`` from all smallest to all largest choices; each raises one gene by one choice.

    All genes rise together: of n choices, a gene has taken half at the middle of the path. Genes that are alike
    (one a block, say) take turns at moments spread by the golden ratio, so that no end of the network grows first.
    Vectors are not canonical: as ranges of choices, inactive genes matter.
    """
    moments = []
    for gene, choices in enumerate(space.cardinality):
        offset = (gene + 1) * _GOLDEN % 1
        moments += [((choice + offset) / (choices - 1), gene) for choice in range(choices - 1)]
    path = np.zeros((len(moments) + 1, len(space.genes)), dtype=np.int64)
    for row, (_, gene) in enumerate(sorted(moments), start=1):
        path[row] = path[row - 1]
        path[row, gene] += 1
    return path
