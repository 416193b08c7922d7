"""What is known of every image of a set: a row of a table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_VALUES = 4
"""Grey levels up to which an image has few."""
MANY_VALUES = 256
FACTS = np.dtype(
    [
        ("mode", "S8"), ("width", "i4"), ("height", "i4"), ("low", "f8"), ("high", "f8"), ("values", "i4"),
        ("channels", "u1"), ("hidden", "?"), ("pixels", "u8"), ("file", "u8"), ("sums", "f8", 3), ("squares", "f8", 3),
        ("decoded", "?"), ("span", "u1"),
    ]
)  # fmt: skip
"""Of an image: Pillow's mode, in ASCII, and the size; of a deep image the least and the largest value; how many values,
of the channel with most, 1 for a constant image, exact up to :data:`FEW_VALUES`; channels once decoded; whether an
alpha channel varies that is dropped; hashes of the decoded pixels and of the file; sums of pixels in [0, 1] and of
their squares, a number a channel, NaN where not known; whether it was decoded, or its header read only; the brightest
value less the darkest, of all channels."""
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
    return np.isin(facts.mode, [mode for mode in np.unique(facts.mode) if is_deep(mode.decode())])


@dataclass(slots=True)
class Seen:
    """What one image showed, as in :data:`FACTS`.

    Attributes:
        values: of a deep image, how many of 256 equal steps between its least and its largest value occur.
        sums: of pixels and of their squares, ``[2, channels]``; None: not known, or taken from ``shown``.
        shown: the pixels of a small image, channel by channel in each; empty: not kept.
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
    values: int = 0
    span: int = 0
    sums: NDArray[np.float64] | None = None
    shown: bytes = b""


_COLUMNS = ("mode", "width", "height", "channels", "file", "low", "high", "hidden", "pixels", "decoded", "values",
            "span")  # fmt: skip
_LEVELS = np.arange(256)
_POWERS = np.stack([_LEVELS, _LEVELS**2])
_TOGETHER = 2**16
"""Bytes that are summed up together: so few that memory for them is at hand, rather than asked of the system."""
_WHITE = np.array([[255.0], [255.0**2]])


def values_and_sums(histogram: Sequence[int]) -> tuple[int, int, NDArray[np.float64]]:
    """How many values an image has, its span, and its sums, as of :class:`Seen`; of how often each of 256 values
    occurs, channel after channel."""
    counts = np.array(histogram, np.int64).reshape(-1, 256)
    occur = np.flatnonzero(counts.any(0))
    return int((counts > 0).sum(1).max()), int(occur[-1] - occur[0]), (_POWERS @ counts.T) / _WHITE


def tabulate(images: Sequence[Seen]) -> Facts:
    """The facts of some images: for many at once, since one at a time takes as long as decoding small ones."""
    facts = no_facts(len(images))
    for name in _COLUMNS:
        facts[name] = [getattr(image, name) for image in images]
    facts.sums[...], facts.squares[...] = np.nan, np.nan
    for number, image in enumerate(images):
        if image.sums is not None:
            facts.sums[number], facts.squares[number] = image.sums
    for channels in (1, 3):
        if small := [number for number, image in enumerate(images) if image.shown and image.channels == channels]:
            step = max(1, _TOGETHER // max(len(images[number].shown) for number in small))
            for part in (small[i : i + step] for i in range(0, len(small), step)):
                own = _sums_of([images[number].shown for number in part], channels)
                (facts.sums[part], facts.squares[part]), facts.span[part] = own
    return facts


def _sums_of(shown: Sequence[bytes], channels: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Sums of the pixels of each image and of their squares, ``[2, images, channels]``, and the span of each."""
    starts = np.cumsum([0, *map(len, shown[:-1])]) // channels
    pixels = np.ascontiguousarray(np.frombuffer(b"".join(shown), np.uint8).reshape(-1, channels).T)
    sums = np.add.reduceat(pixels, starts, axis=1, dtype=np.uint32)
    squares = np.add.reduceat(np.square(pixels, dtype=np.uint16), starts, axis=1, dtype=np.uint32)
    both: NDArray[np.float64] = np.stack([sums.T, squares.T]) / _WHITE[..., None]
    spans: NDArray[np.uint8] = np.maximum.reduceat(pixels, starts, axis=1).max(0)
    spans -= np.minimum.reduceat(pixels, starts, axis=1).min(0)
    return both, spans
