"""What is known of every image of a set: a row of a table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FACTS = np.dtype(
    [
        ("mode", "U8"), ("width", "i4"), ("height", "i4"), ("low", "f8"), ("high", "f8"), ("values", "i4"),
        ("channels", "u1"), ("hidden", "?"), ("pixels", "u8"), ("file", "u8"), ("sums", "f8", 3), ("squares", "f8", 3),
        ("decoded", "?"),
    ]
)  # fmt: skip
"""Of an image: Pillow's mode, and the size; of a deep image the least and the largest value; how many values, of the
channel with most, 1 for a constant image; channels once decoded; whether an alpha channel varies that is dropped;
hashes of the decoded pixels and of the file; sums of pixels in [0, 1] and of their squares, a number a channel, NaN
where not known; whether it was decoded, or its header read only."""
Facts = np.recarray[Any, np.dtype[Any]]


def no_facts(images: int) -> Facts:
    """A table of zeros, a row for each image."""
    return as_facts(np.zeros(images, FACTS))


def as_facts(rows: NDArray[Any]) -> Facts:
    """Rows of :data:`FACTS` as a table with a name a column."""
    return rows.view(np.recarray)


def is_deep(mode: str) -> bool:
    """Whether images of a mode have more than 8 bits a value."""
    return mode.startswith("I") or mode == "F"


def deep_images(facts: Facts) -> NDArray[np.bool_]:
    """Which images of a table are deep, ``[images]``."""
    return np.isin(facts.mode, [mode for mode in np.unique(facts.mode) if is_deep(mode)])


@dataclass(frozen=True, slots=True)
class Seen:
    """What one image showed, as in :data:`FACTS`.

    Attributes:
        counts: how often each of 256 values occurs, channel after channel; empty: not known.
    """

    mode: str
    width: int
    height: int
    channels: int
    file: int
    low: float = 0.0
    high: float = 0.0
    hidden: bool = False
    pixels: int = 0
    decoded: bool = True
    counts: Sequence[int] = ()


_SCALE = np.arange(256) / 255


def tabulate(images: Sequence[Seen]) -> Facts:
    """The facts of some images: for many at once, since one at a time takes as long as decoding small ones."""
    facts = no_facts(len(images))
    for name in ("mode", "width", "height", "channels", "file", "low", "high", "hidden", "pixels", "decoded"):
        facts[name] = [getattr(image, name) for image in images]
    facts.sums[...], facts.squares[...] = np.nan, np.nan
    if known := [i for i, image in enumerate(images) if image.counts]:
        rows = [images[i].counts for i in known]
        counts = np.array([row if len(row) == 768 else [*row] * 3 for row in rows], np.int64).reshape(-1, 3, 256)
        facts.sums[known], facts.squares[known] = counts @ _SCALE, counts @ _SCALE**2
        facts.values[known] = (counts > 0).sum(2).max(1)
    return facts
