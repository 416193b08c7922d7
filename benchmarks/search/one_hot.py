"""What a predictor sees of spaces whose choices have no order."""

from __future__ import annotations

import numpy as np

from search_spaces.genes import Floats, GeneSpace, Vectors


def one_hot_features(space: GeneSpace, vectors: Vectors) -> Floats:
    """Genes as one column per choice, ``[n, sum of choices]``, for spaces whose choices have no order (operators)."""
    active = space.active(vectors)
    columns = [(vectors[:, g] == choice) & active[:, g] for g, n in enumerate(space.cardinality) for choice in range(n)]
    stacked: Floats = np.stack(columns, axis=1) / np.sqrt(max(len(space.genes), 1))
    return stacked
