"""Which images of a source can be read; the others are left out with a warning."""

from __future__ import annotations

import numpy as np

from nas.data.dataset import Images, listed
from nas.data.decode import FULL_CHECK_IMAGES, ArrayImages, Encoded, Kept, decode_all
from nas.data.layout import Arranged
from search_spaces.errors import UserError

from .source import Contents

NAMED = 10
"""Unreadable images that a warning names."""


def keep_readable(where: str, images: Encoded, found: Arranged, thorough: bool) -> Contents:
    """The contents of the data set ``where`` without its unreadable images; pixels are held where they fit in memory.

    Every image is decoded, but only the headers are read of more than :data:`nas.data.decode.FULL_CHECK_IMAGES` images
    unless ``thorough``.

    Raises:
        UserError: more than half of the images, or all training images, are unreadable.
    """
    bad, arrays = decode_all(images, thorough)
    names = [images.name(i) for i in bad]
    if 2 * len(bad) > len(images):
        raise UserError(
            f"{len(bad)} of {len(images)} images in '{where}' are corrupt ({listed(names)}); copy the data again"
        )
    warnings = list(found.notes)
    if bad:
        what = "image" if len(bad) == 1 else "images"
        warnings.insert(0, f"{len(bad)} corrupt {what} left out: {listed(names, NAMED)}")
    if len(images) > FULL_CHECK_IMAGES and not thorough:
        warnings.append(f"only the headers of {len(images):,} images were checked, not their pixels")
    keep = np.array([i for i in range(len(images)) if i not in bad], dtype=np.int64)
    labels, splits = np.array(found.labels, dtype=np.int64)[keep], np.array(found.splits)[keep]
    given = {str(split): np.flatnonzero(splits == split) for split in np.unique(splits)}
    if "train" not in given:
        raise UserError(f"every training image in '{where}' is corrupt; copy the data again")
    for split in given.keys() - {"train"}:
        if absent := [c for i, c in enumerate(found.classes) if i not in labels[given[split]]]:
            warnings.append(f"the {split} split has no image of class {listed(absent)}")
    kept_names = tuple(images.name(int(i)) for i in keep)
    kept = Kept(kept_names, images, keep, levels=images.levels) if bad else images
    usable: Images = kept if arrays is None else ArrayImages(arrays, kept_names, kept)
    corrupt = tuple(zip(names, bad.values(), strict=True))
    return Contents(usable, labels, found.classes, given, tuple(warnings), corrupt)
