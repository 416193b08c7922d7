"""Which image goes into which split: stratified, disjoint, a pure function of labels and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.store.records import SPLITS
from nas.store.seeds import stream
from search_spaces.errors import UserError

from .dataset import Ints, listed

FRACTIONS = {"search": 0.10, "test": 0.15}
CAPS = {"search": 5_000, "test": 10_000}
IMBALANCED = 10
"""How many times as many images the largest class has, from which on a person should know."""


def make_splits(
    labels: Ints, given: Mapping[str, Ints], seed: int, classes: Sequence[str], where: str, groups: Ints | None = None
) -> dict[str, Ints]:
    """The three splits of the data set ``where``, as image numbers.

    Args:
        given: image numbers the source assigns itself; ``train`` always. Missing splits are cut from it.
        seed: of the cut and of the order within a split; not negative.
        groups: a number for each image, equal for those that must be in the same split; None: there are no such.

    Raises:
        UserError: a class of the training images is too small to appear in every split cut from it.
    """
    missing = [name for name in ("test", "search") if name not in given]
    pool = given["train"]
    counts = np.bincount(labels[pool], minlength=len(classes))
    first = pool if groups is None else pool[np.unique(groups[pool], return_index=True)[1]]
    different = np.bincount(labels[first], minlength=len(classes))
    few = [f"'{classes[c]}' ({n})" for c, n in enumerate(different) if n < 1 + len(missing)]
    if few:
        raise UserError(
            f"{where}: too few images of class {listed(few)}; the splits {', '.join(['train', *missing[::-1]])} need "
            f"at least {1 + len(missing)} a class: add images or remove the class"
        )
    sizes = {name: split_counts(counts, FRACTIONS[name], CAPS[name], 1 + len(missing)) for name in missing}
    out: dict[str, list[Ints]] = {name: [] for name in missing}
    train: list[Ints] = []
    for c in range(len(classes)):
        order = stream(seed, "train.split", c).permutation(pool[labels[pool] == c])
        if groups is not None:
            order = order[np.argsort(_first_places(groups[order]), kind="stable")]
        for later, name in enumerate(missing, start=1):
            size = sizes[name][c]
            if groups is not None:
                size = _whole_groups(groups[order], size, leave=1 + len(missing) - later)
            out[name].append(order[:size])
            order = order[size:]
        train.append(order)
    splits = {name: np.concatenate(parts) for name, parts in (*out.items(), ("train", train))}
    splits |= {name: numbers for name, numbers in given.items() if name != "train"}
    return {name: interleave(splits[name], labels, seed) for name in SPLITS}


def _first_places(groups: Ints) -> Ints:
    """Where the group of each entry comes first."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse]


def _whole_groups(groups: Ints, size: int, leave: int) -> int:
    """How many of the entries, which lie group by group, make up to ``size`` without parting a group: at least one
    group, and ``leave`` groups stay."""
    ends = np.append(np.flatnonzero(np.diff(groups)) + 1, len(groups))
    taken = int(np.searchsorted(ends, size, side="right"))
    return int(ends[max(1, min(taken, len(ends) - leave)) - 1])


def imbalance(train: Ints, classes: Sequence[str]) -> tuple[str, ...]:
    """A warning that names the rarest classes, where the largest has ten times as many training images, or more;
    ``train`` are the labels of these."""
    counts = np.bincount(train, minlength=len(classes))
    largest = int(counts.argmax())
    order = np.argsort(counts, kind="stable")
    rare = [f"{classes[c]} ({counts[c]})" for c in order if IMBALANCED * counts[c] <= counts[largest]]
    if not rare:
        return ()
    return (f"imbalanced: '{classes[largest]}' has {counts[largest]:,} training images, the rarest are {listed(rare)}; "
            f"accuracy will say little of them: add images of these classes",)  # fmt: skip


def split_counts(counts: Ints, fraction: float, cap: int, shares: int) -> Ints:
    """Images a class to cut for one split, ``[classes]``: largest remainders, two a class where there are enough.

    Args:
        fraction: of all images, up to ``cap`` in all (unless one a class is already more).
        shares: how many splits draw on the class; no cut takes more than the least of equal shares as its minimum.
    """
    target = min(cap, round(fraction * int(counts.sum())))
    low = np.minimum(2 if 2 * len(counts) <= cap else 1, counts // shares)
    quota = counts * (target / counts.sum())
    out: Ints = np.maximum(low, np.floor(quota).astype(np.int64))
    spare = max(0, target - int(out.sum()))
    order = np.argsort(out - quota, kind="stable")
    out[[c for c in order[:spare] if quota[c] > out[c]]] += 1
    return out


def interleave(numbers: Ints, labels: Ints, seed: int) -> Ints:
    """``numbers`` shuffled by seed and ordered so that every prefix holds the classes in their overall proportions."""
    shuffled = stream(seed, "train.interleave").permutation(np.sort(numbers))
    own = labels[shuffled]
    position = np.empty(len(shuffled))
    for c in np.unique(own):
        where = np.flatnonzero(own == c)
        position[where] = (np.arange(len(where)) + 0.5) / len(where)
    return shuffled[np.lexsort((own, position))].astype(np.int64)
