"""Images that are the same picture: splits must not share them, and two classes must not either."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.data.dataset import Ints, listed
from search_spaces.errors import UserError

from .facts import Facts

RANKS = {"train": 0, "search": 1, "test": 2}
"""Of the copies of an image in several splits, those in the highest stay."""


@dataclass(frozen=True)
class Sorted:
    """A source's splits without the copies that must not be there.

    Attributes:
        given: image numbers by split.
        groups: a number for each image, equal for copies; None: there are no copies.
        notes: what was left out, a line each.
    """

    given: dict[str, Ints]
    groups: Ints | None
    notes: tuple[str, ...]


def sort_out(
    facts: Facts,
    labels: Ints,
    given: Mapping[str, Ints],
    classes: Sequence[str],
    name: Callable[[int], str],
    where: str,
) -> Sorted:
    """Leave out copies: all of an image that lies under two classes, since nobody knows which is right, and those of
    a test image in the other splits, of a search image in the training split. A split of nothing else is not given.

    Args:
        facts: of all images, each decoded.
        labels: of each image.
        given: image numbers of the splits of the data set ``where``.
        name: of an image, by number.

    Raises:
        UserError: a class has no training images left.
    """
    _, groups, counts = np.unique(facts.pixels, return_inverse=True, return_counts=True)
    if (counts == 1).all():
        return Sorted(dict(given), None, ())
    least, most = np.full(len(counts), len(classes)), np.full(len(counts), -1)
    np.minimum.at(least, groups, labels)
    np.maximum.at(most, groups, labels)
    torn = (least != most)[groups]
    rank = np.zeros(len(labels), dtype=np.int64)
    for split, numbers in given.items():
        rank[numbers] = RANKS[split]
    best = np.zeros(len(counts), dtype=np.int64)
    np.maximum.at(best, groups, rank)

    def twin(number: int, others: Ints) -> str:
        return name(next(int(other) for other in others if groups[other] == groups[number] and other != number))

    notes, left = [], {}
    if torn.any():
        first, *others = (int(number) for number in np.flatnonzero(torn))
        other = next(n for n in others if groups[n] == groups[first] and labels[n] != labels[first])
        notes.append(
            f"{torn.sum():,} images lie under two classes and are left out: '{name(first)}' as "
            f"{classes[labels[first]]} is '{name(other)}' as {classes[labels[other]]}; keep the right one"
        )
    for split, numbers in given.items():
        for better in [other for other in given if RANKS[other] > RANKS[split]]:
            shared = numbers[~torn[numbers] & (best[groups[numbers]] == RANKS[better])]
            if len(shared):
                own = "training" if split == "train" else split
                notes.append(
                    f"{len(shared):,} of {len(numbers):,} {own} images are in the {better} split too and are left out "
                    f"of the {own} split: '{name(int(shared[0]))}' is '{twin(int(shared[0]), given[better])}'"
                )
        left[split] = numbers[~torn[numbers] & (best[groups[numbers]] == rank[numbers])]
    if bare := [c for i, c in enumerate(classes) if i in labels[given["train"]] and i not in labels[left["train"]]]:
        raise UserError(
            f"without copies '{where}' has no training images of class {listed(bare)}: {'; '.join(notes)}\n"
            "remove the copies; without test/ and val/ these splits are drawn from train/"
        )
    for split in [split for split in left if not len(left[split])]:
        notes.append(f"the {split} split holds nothing else, so one is drawn from train")
        del left[split]
    joined = np.concatenate(list(left.values()))
    _, first_of, times = np.unique(groups[joined], return_index=True, return_counts=True)
    if (times > 1).any():
        number = int(joined[first_of[np.flatnonzero(times > 1)[0]]])
        notes.append(
            f"{int((times - 1).sum()):,} images are copies of others of their class and split, and stay: "
            f"'{name(number)}' is '{twin(number, joined)}'"
        )
    return Sorted({split: left[split] for split in given if split in left}, groups, tuple(notes))
