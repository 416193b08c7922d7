"""The figures of networks that say which of them are alike, from their features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.costs.network import COLUMN, total_macs
from search_spaces.genes import Floats
from search_spaces.operators.operator import KINDS

from .measured import Extent, MeasuredRange

_DIGITS = 4


def extents_of(features: Floats, ms: Floats, px: Sequence[float]) -> list[Extent]:
    """Of networks with feature rows ``[n, features]`` that take ``ms`` ``[n]``, with images whose shorter sides are
    ``px`` ``[n]``."""
    counts = features[:, [COLUMN[f"ops_{kind}"] for kind in KINDS]]
    has = counts > np.array([float(kind == "conv") for kind in KINDS])  # the first one of those reads the image
    return [
        Extent(float(t), float(macs) / 1e6, float(side), float(row.sum()), frozenset(np.array(KINDS)[kinds].tolist()))
        for t, macs, side, row, kinds in zip(ms, total_macs(features), px, counts, has, strict=True)
    ]


def range_of(networks: Sequence[Extent]) -> MeasuredRange:
    """From the least to the most of some networks, one or more; a side of 0 isn't one of an image."""

    def ends(values: list[float]) -> tuple[float, float]:
        least, most = (float(f"{end:.{_DIGITS}g}") for end in (min(values), max(values)))
        return least, most

    kinds = frozenset[str]().union(*(network.kinds for network in networks))
    return MeasuredRange(
        ends([n.ms for n in networks]),
        ends([n.mmacs for n in networks]),
        ends([n.px for n in networks if n.px]),
        ends([n.operators for n in networks]),
        tuple(kind for kind in KINDS if kind in kinds),
    )
