"""Whether mirror images of a class are another class to a trained network, or look to it as if they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from torch import Tensor, nn

from nas.data.batches import eval_batches
from nas.data.dataset import Dataset

LOOKED_AT = 1000
"""Images of the search split that are mirrored."""
_LEAST = 10  # images of a class, to say anything of it
_SWAPPED, _MORE = 0.6, 0.4  # share of mirrored images that get the other's name; more than of those as they are
_WITHIN = 0.8  # share of a pair's images that get one of the pair's names: the network knows them from the rest


def mirror_findings(make: Callable[[], nn.Module], dataset: Dataset, resolution: int, mirrored: bool) -> list[str]:
    """A line for each pair of classes that a network exchanges in mirrored images, or cannot tell apart after a
    training with mirrored ones.

    Args:
        make: gives the network, in eval mode; not called where no two classes have images enough.
        mirrored: whether its training mirrored images.
    """
    labels = dataset.labels[dataset.splits["search"][:LOOKED_AT]]
    known = np.bincount(labels, minlength=dataset.info.num_classes) >= _LEAST
    if known.sum() < 2:
        return []
    network = make()
    batches = list(eval_batches(dataset, "search", resolution, 256, LOOKED_AT))
    device = next(network.parameters()).device
    found = []
    for images in (batches, [(each.flip(-1), labels) for each, labels in batches]):
        counts = dataset.task.confusion(network, images, dataset.info.num_classes, device)
        if counts is None:
            return []
        found.append(counts.double())
    plain, flipped = found
    seen = plain.sum(1)
    share, before = flipped / seen[:, None].clamp(min=1), plain / seen[:, None].clamp(min=1)
    exchanged = (share >= _SWAPPED) & (share - before >= _MORE)
    names, lines = dataset.info.classes, []
    for i, j in combinations(np.flatnonzero(known).tolist(), 2):
        if exchanged[i, j] and exchanged[j, i]:
            lines.append(
                f"mirror images of '{names[i]}' are '{names[j]}' to the network ({100 * share[i, j]:.0f} % of them), "
                f"and the reverse ({100 * share[j, i]:.0f} %): never mirror these images (`no_mirror`)"
            )
        elif mirrored and (right := _at_chance(plain, i, j)) is not None:
            lines.append(
                f"'{names[i]}' and '{names[j]}' are told apart no better than by chance ({100 * right:.0f} % right): "
                "if mirror images of one look like the other, train without mirroring (`no_mirror`)"
            )
    return lines


def _at_chance(counts: Tensor, i: int, j: int) -> float | None:
    """Share of right answers among images of a pair that got one of its names, each class counting as much; None: the
    network tells the two apart, or doesn't know them from the rest either."""
    pair = counts[[i, j]][:, [i, j]]
    if (pair.sum(1) < _WITHIN * counts[[i, j]].sum(1)).any():
        return None
    right = float((pair.diagonal() / pair.sum(1)).mean())
    return right if right <= 0.5 + math.sqrt(0.25 / float(pair.sum())) else None
