"""From encoded files to grey or RGB pixels, and to the data set's mean, std and size."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from search_spaces.errors import UserError

from .dataset import MEMORY_BYTES, Images, Ints
from .preparation import decode

SAMPLE_IMAGES = 2_000
SAMPLE_PIXELS = 200_000_000
FULL_CHECK_IMAGES = 50_000

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded(ABC):
    """Images decoded anew at every look, from a file each.

    Attributes:
        names: of the images within their data set.
        levels: as of :func:`nas.data.preparation.to_grey_or_rgb`.
    """

    names: tuple[str, ...]
    levels: tuple[float, float] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    @abstractmethod
    def file(self, index: int) -> Path | IO[bytes]:
        """The encoded image: a path, or a stream that nobody else reads from."""

    @abstractmethod
    def place(self, index: int) -> str:
        """Where a person finds the image."""

    def image(self, index: int) -> Image.Image:
        """The decoded image. Raises UserError where it cannot be decoded any more."""
        try:
            return decode(self.file(index), self.levels)
        except Exception as error:  # PIL's plugins raise nearly anything on damaged files
            raise UserError(f"cannot decode '{self.place(index)}' ({error}); repair or remove the file") from error


@dataclass(frozen=True)
class FileImages(Encoded):
    """Files of a folder."""

    root: Path

    def file(self, index: int) -> Path:
        return self.root / self.names[index]

    def place(self, index: int) -> str:
        return str(self.file(index))


@dataclass(frozen=True)
class Kept(Encoded):
    """Some of other images: the numbers ``keep``."""

    images: Encoded
    keep: Ints

    def file(self, index: int) -> Path | IO[bytes]:
        return self.images.file(int(self.keep[index]))

    def place(self, index: int) -> str:
        return self.images.place(int(self.keep[index]))


@dataclass(frozen=True)
class ArrayImages:
    """Decoded images held in memory: ``[h, w]`` or ``[h, w, 3]`` each; ``files``: what they were decoded from."""

    arrays: Sequence[Pixels]
    names: tuple[str, ...] = ()
    files: Encoded | None = None

    def __len__(self) -> int:
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.arrays[index])

    def name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def decode_all(images: Encoded, thorough: bool = False) -> tuple[dict[int, str], list[Pixels] | None]:
    """Decode every image once; of more than :data:`FULL_CHECK_IMAGES` read only the headers, unless ``thorough``.

    Returns:
        Why images are unreadable, by number, and the pixels of the others where they fit in memory, else None.
    """
    kept = 0
    headers_only = len(images) > FULL_CHECK_IMAGES and not thorough

    def look(index: int) -> Pixels | str | None:
        nonlocal kept  # roughly right is enough: threads may overshoot by an image
        try:
            file = images.file(index)
            if headers_only:
                Image.open(file).close()
                return None
            pixels = np.asarray(decode(file, images.levels))
        except Exception as error:  # PIL's plugins raise nearly anything on damaged files
            return reason(error)
        kept += pixels.nbytes
        return pixels if kept <= MEMORY_BYTES else None

    with quiet_pil(), ThreadPoolExecutor(threads()) as pool:
        looks = list(pool.map(look, range(len(images))))
    bad = {i: seen for i, seen in enumerate(looks) if isinstance(seen, str)}
    arrays = [seen for seen in looks if isinstance(seen, np.ndarray)]
    return bad, arrays if len(arrays) + len(bad) == len(images) else None


def reason(error: Exception) -> str:
    """Why an image cannot be decoded, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known format"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class Statistics:
    """Of the first training images.

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


def statistics(images: Images, numbers: Ints) -> Statistics:
    """Statistics of the first images of ``numbers``: up to :data:`SAMPLE_IMAGES`, or fewer once
    :data:`SAMPLE_PIXELS` have been seen."""
    sums, squares, pixels, levels = np.zeros(3), np.zeros(3), 0, np.arange(256) / 255
    sizes: list[tuple[int, int]] = []
    grey = True
    with quiet_pil():
        for number in numbers[:SAMPLE_IMAGES]:
            image = images.image(int(number))
            counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
            grey &= len(counts) == 1
            sums += counts @ levels
            squares += counts @ levels**2
            sizes.append(image.size)
            pixels += image.width * image.height
            if pixels >= SAMPLE_PIXELS:
                break
    mean = sums / pixels
    std = np.maximum(np.sqrt(np.maximum(squares / pixels - mean**2, 0)), 1 / 255)
    channels, side = 1 if grey else 3, int(np.median([min(size) for size in sizes]))
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    ends = (ordered[0], ordered[len(ordered) // 2], ordered[-1])
    return Statistics(channels, _rounded(mean[:channels]), _rounded(std[:channels]), side, ends, len(sizes))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)


@contextmanager
def quiet_pil() -> Iterator[None]:
    """Without PIL's remarks about odd metadata; what cannot be decoded is reported by name anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def threads() -> int:
    """Threads for decoding, which PIL does outside Python's lock."""
    return min(8, os.cpu_count() or 1)
