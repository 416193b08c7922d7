"""Images as a source offers them, before splits are cut; unreadable ones are found and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.data.dataset import Images, Ints, listed
from nas.data.decode import FULL_CHECK_IMAGES, ArrayImages, Encoded, Kept, decode_all
from search_spaces.errors import UserError

NAMED = 10
"""Unreadable images that a warning names."""


@dataclass(frozen=True)
class Source:
    """Images as found, before splits are cut.

    Attributes:
        images, labels: all usable images, and their labels ``[len(images)]``.
        classes: names, by label.
        given: image numbers of the splits that the source itself assigns; ``train`` always.
        warnings: a line each.
        corrupt: name of every unreadable image, and why it is one.
    """

    images: Images
    labels: Ints
    classes: tuple[str, ...]
    given: dict[str, Ints]
    warnings: tuple[str, ...] = ()
    corrupt: tuple[tuple[str, str], ...] = ()


def checked(
    where: str, images: Encoded, labels: Sequence[int] | Ints, splits: Sequence[str], classes: tuple[str, ...],
    notes: Sequence[str] = (), thorough: bool = False,
) -> Source:  # fmt: skip
    """A source of the readable ones of ``images``, whose pixels are held where they fit in memory.

    Args:
        where: the data set, for messages.
        labels, splits: of each image.
        classes: names, by label.
        notes: warnings so far.
        thorough: decode every image, however many there are; else only headers are read beyond
            :data:`nas.data.decode.FULL_CHECK_IMAGES` images.

    Raises:
        UserError: more than half of the images, or all training images, are unreadable.
    """
    bad, arrays = decode_all(images, thorough)
    names = [images.name(i) for i in bad]
    if 2 * len(bad) > len(images):
        raise UserError(
            f"{len(bad)} of {len(images)} images in '{where}' are corrupt ({listed(names)}); copy the data again"
        )
    found = list(notes)
    if bad:
        left = f"{len(bad)} corrupt {'image' if len(bad) == 1 else 'images'} left out: {listed(names, NAMED)}"
        found.insert(0, left)
    if len(images) > FULL_CHECK_IMAGES and not thorough:
        found.append(f"only the headers of {len(images):,} images were checked, not their pixels")
    keep = np.array([i for i in range(len(images)) if i not in bad], dtype=np.int64)
    own, of = np.asarray(labels, dtype=np.int64)[keep], np.asarray(splits)[keep]
    given = {str(split): np.flatnonzero(of == split) for split in np.unique(of)}
    if "train" not in given:
        raise UserError(f"every training image in '{where}' is corrupt; copy the data again")
    for split in given.keys() - {"train"}:
        if absent := [c for i, c in enumerate(classes) if i not in own[given[split]]]:
            found.append(f"the {split} split has no image of class {listed(absent)}")
    usable: Images
    if arrays is not None:
        usable = ArrayImages(arrays, tuple(images.name(int(i)) for i in keep))
    else:
        usable = Kept(images, keep) if bad else images
    return Source(usable, own, classes, given, tuple(found), tuple(zip(names, bad.values(), strict=True)))
