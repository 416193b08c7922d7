"""Which images of a source can be used; the others are left out with a warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from nas.data.checks.facts import as_facts
from nas.data.checks.levels import levels_for
from nas.data.checks.look import look_at_all
from nas.data.checks.oddities import find_oddities
from nas.data.dataset import Images, listed
from nas.data.decode import ArrayImages, Encoded, Kept
from nas.data.folders.arrange import Arranged
from nas.data.folders.formats import ADVICE
from search_spaces.errors import UserError

from .source import Contents, Request

NAMED = 10
"""Unreadable images that a warning names."""


def keep_readable(where: str, images: Encoded, found: Arranged, request: Request) -> Contents:
    """The contents of the data set ``where`` without its unreadable images; pixels are held where they fit in memory.

    Every image is decoded, but only the headers are read of more than :data:`nas.data.decode.FULL_CHECK_IMAGES` images
    unless the request is thorough.

    Raises:
        UserError: more than half of the images, or all training images, are unreadable; or nothing can be learned from
            them.
    """
    lost = () if request.earlier else found.lost
    looked = look_at_all(images, request.thorough, partial(levels_for, request.trained))
    images = replace(images, levels=looked.levels)
    unread = [(images.name(number), why) for number, why in looked.bad.items()]
    corrupt, count = (*unread, *lost), len(images) + len(lost)
    if 2 * len(corrupt) > count:
        raise UserError(
            f"{len(corrupt)} of {count} images in '{where}' cannot be used: {'; '.join(_left_out(corrupt, count, 3))}"
        )
    keep = np.array([i for i in range(len(images)) if i not in looked.bad], dtype=np.int64)
    facts, names = as_facts(looked.facts[keep]) if looked.bad else looked.facts, images.names
    odd = [] if request.earlier else find_oddities(facts, lambda number: names[int(keep[number])], where, looked.levels)
    warnings = [*_left_out(corrupt, count), *found.notes, *odd]
    if not facts.decoded.all():
        warnings.append(
            f"only the headers of {len(images):,} images were checked, not their pixels: neither damage nor copies "
            "were looked for"
        )
    labels, splits = np.array(found.labels, dtype=np.int64)[keep], np.array(found.splits, dtype="S6")[keep]
    given = {split.decode(): np.flatnonzero(splits == split) for split in np.unique(splits)}
    if "train" not in given:
        raise UserError(f"every training image in '{where}' is corrupt; copy the data again")
    for split in given.keys() - {"train"}:
        if absent := [c for i, c in enumerate(found.classes) if i not in labels[given[split]]]:
            warnings.append(f"the {split} split has no image of class {listed(absent)}")
    kept_names = tuple(images.name(int(i)) for i in keep) if looked.bad else images.names
    kept = Kept(kept_names, images, keep, levels=images.levels) if looked.bad else images
    usable: Images = kept if looked.held is None else ArrayImages(looked.held, kept_names, kept)
    return Contents(usable, labels, found.classes, given, tuple(warnings), corrupt, facts, looked.levels)


def _left_out(corrupt: Sequence[tuple[str, str]], count: int, named: int = NAMED) -> list[str]:
    """A line for each reason why images are left out, the most frequent first, with what to do."""
    kinds = Counter(why if why in ADVICE else "" for _, why in corrupt)
    lines = []
    for kind, times in kinds.most_common():
        these = [each for each in corrupt if (each[1] if each[1] in ADVICE else "") == kind]
        whys = {why for _, why in these}
        names = listed([name if len(whys) == 1 else f"{name} ({why})" for name, why in these], named)
        what = "image" if times == 1 else "images"
        if kind:
            lines.append(f"{times} of {count} images left out ({kind}): {names}; {ADVICE[kind]}")
        else:
            why = f" ({whys.pop()})" if len(whys) == 1 else ""
            lines.append(f"{times} corrupt {what} left out{why}: {names}")
    return lines
