"""Mean, std, sizes and channels of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.data.checks.facts import Facts

from .dataset import Images, Ints
from .decode import quiet_pil

SAMPLE_IMAGES = 2_000
SAMPLE_PIXELS = 200_000_000


@dataclass(frozen=True)
class Statistics:
    """Of training images.

    Attributes:
        channels: 1 where every image is grey, else 3.
        mean, std: of pixels scaled to [0, 1], a number a channel; a std below 1/255 (constant images) counts as 1/255.
        side: median shorter side in pixels.
        sizes: (width, height) of the smallest, the median and the largest image, by area.
        images: how many were looked at.
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    sizes: tuple[tuple[int, int], ...]
    images: int


def statistics(images: Images, numbers: Ints, facts: Facts | None = None) -> Statistics:
    """Statistics of the images ``numbers``.

    Args:
        facts: of all images. Sizes are then those of all ``numbers``, and there is one channel only where every image
            is grey, in any split. Pixels that it has no sums of are taken from a sample.

    Without facts, or where they lack sums, the sample is the first images: up to :data:`SAMPLE_IMAGES`, or fewer once
    :data:`SAMPLE_PIXELS` have been seen.
    """
    if facts is None:
        seen = _look_at_some(images, numbers)
        return _describe(seen, np.array(seen.sizes), seen.grey)
    sizes = np.stack([facts.width[numbers], facts.height[numbers]], axis=1).astype(np.int64)
    sums, squares = facts.sums[numbers].sum(0), facts.squares[numbers].sum(0)
    seen = _Sums(sums, squares, int(sizes.prod(1).sum()))
    if np.isnan(sums).any():
        seen = _look_at_some(images, numbers)
    return _describe(seen, sizes, bool((facts.channels == 1).all()))


@dataclass
class _Sums:
    """Sums over pixels in [0, 1] and their squares, ``[3]``, and over what else was seen."""

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    pixels: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    grey: bool = True


def _look_at_some(images: Images, numbers: Ints) -> _Sums:
    seen, levels = _Sums(np.zeros(3), np.zeros(3)), np.arange(256) / 255
    with quiet_pil():
        for number in numbers[:SAMPLE_IMAGES]:
            image = images.image(int(number))
            counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
            seen.grey &= len(counts) == 1
            seen.sums += counts @ levels
            seen.squares += counts @ levels**2
            seen.sizes.append(image.size)
            seen.pixels += image.width * image.height
            if seen.pixels >= SAMPLE_PIXELS:
                break
    return seen


def _describe(seen: _Sums, sizes: Ints, grey: bool) -> Statistics:
    """``sizes``: (width, height) of all images, ``[images, 2]``."""
    mean = seen.sums / seen.pixels
    std = np.maximum(np.sqrt(np.maximum(seen.squares / seen.pixels - mean**2, 0)), 1 / 255)
    channels = 1 if grey else 3
    return Statistics(
        channels, _rounded(mean[:channels]), _rounded(std[:channels]), _side(sizes), _ends(sizes), len(sizes)
    )


def _side(sizes: Ints) -> int:
    return int(np.median(sizes.min(1)))


def _ends(sizes: Ints) -> tuple[tuple[int, int], ...]:
    ordered = sizes[np.argsort(sizes.prod(1), kind="stable")]
    smallest, middle, largest = ((int(width), int(height)) for width, height in ordered[[0, len(sizes) // 2, -1]])
    return smallest, middle, largest


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)
