"""Which images of a source can be read; the others are left out with a warning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.data.dataset import Images, Ints, listed
from nas.data.decode import FULL_CHECK_IMAGES, ArrayImages, Encoded, Kept, decode_all
from search_spaces.errors import UserError

from .source import Contents

NAMED = 10
"""Unreadable images that a warning names."""


def keep_readable(
    where: str, images: Encoded, labels: Sequence[int] | Ints, splits: Sequence[str], classes: tuple[str, ...],
    notes: Sequence[str] = (), thorough: bool = False,
) -> Contents:  # fmt: skip
    """The contents of a source without its unreadable images; pixels are held where they fit in memory.

    Args:
        where: name of the data set, for messages.
        images: all images, readable or not.
        labels: label of each image.
        splits: split of each image.
        classes: names of the classes, by label.
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
    warnings = list(notes)
    if bad:
        left = f"{len(bad)} corrupt {'image' if len(bad) == 1 else 'images'} left out: {listed(names, NAMED)}"
        warnings.insert(0, left)
    if len(images) > FULL_CHECK_IMAGES and not thorough:
        warnings.append(f"only the headers of {len(images):,} images were checked, not their pixels")
    keep = np.array([i for i in range(len(images)) if i not in bad], dtype=np.int64)
    kept_labels, kept_splits = np.asarray(labels, dtype=np.int64)[keep], np.asarray(splits)[keep]
    given = {str(split): np.flatnonzero(kept_splits == split) for split in np.unique(kept_splits)}
    if "train" not in given:
        raise UserError(f"every training image in '{where}' is corrupt; copy the data again")
    for split in given.keys() - {"train"}:
        if absent := [c for i, c in enumerate(classes) if i not in kept_labels[given[split]]]:
            warnings.append(f"the {split} split has no image of class {listed(absent)}")
    usable: Images
    if arrays is not None:
        usable = ArrayImages(arrays, tuple(images.name(int(i)) for i in keep))
    else:
        usable = Kept(images, keep) if bad else images
    corrupt = tuple(zip(names, bad.values(), strict=True))
    return Contents(usable, kept_labels, classes, given, tuple(warnings), corrupt)
