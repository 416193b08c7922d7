"""From encoded files to grey or RGB pixels, and to the data set's mean, std and size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.data_set import MEMORY_BYTES, Images, Ints
from search_spaces.errors import UserError

SAMPLE_IMAGES = 2_000
SAMPLE_PIXELS = 200_000_000
FULL_CHECK_IMAGES = 50_000

Pixels = NDArray[np.uint8]


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The decoded image in mode ``L`` or ``RGB``; 16-bit grey keeps its upper 8 bits (PIL would clip it)."""
    if image.mode in ("L", "RGB"):
        image.load()
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    return image.convert("L" if image.mode in ("1", "LA", "La", "F") else "RGB")


def decode(path: Path) -> Image.Image:
    """Decode a file completely. Raises whatever PIL raises on a damaged one."""
    with Image.open(path) as image:
        return to_grey_or_rgb(image)


@dataclass(frozen=True)
class FileImages:
    """Images decoded anew at every look."""

    root: Path
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        try:
            return decode(self.paths[index])
        except Exception as error:  # PIL's plugins raise nearly anything on damaged files
            raise UserError(f"cannot decode '{self.paths[index]}' ({error}); repair or remove the file") from error

    def name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()


@dataclass(frozen=True)
class ArrayImages:
    """Decoded images held in memory: ``[h, w]`` or ``[h, w, 3]`` each."""

    arrays: Sequence[Pixels]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.arrays[index])

    def name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def decode_all(paths: Sequence[Path]) -> tuple[list[int], list[Pixels] | None]:
    """Decode every file once; of more than :data:`FULL_CHECK_IMAGES` read only the headers.

    Returns:
        The positions of unreadable files, and the pixels of the others where they fit in memory, else None.
    """
    kept = 0
    headers_only = len(paths) > FULL_CHECK_IMAGES

    def look(path: Path) -> Pixels | bool:
        nonlocal kept  # roughly right is enough: threads may overshoot by an image
        try:
            if headers_only:
                Image.open(path).close()
                return True
            pixels = np.asarray(decode(path))
        except Exception:  # PIL's plugins raise nearly anything on damaged files
            return False
        kept += pixels.nbytes
        return pixels if kept <= MEMORY_BYTES else True

    with quiet_pil(), ThreadPoolExecutor(threads()) as pool:
        looks = list(pool.map(look, paths))
    bad = [i for i, seen in enumerate(looks) if seen is False]
    arrays = [seen for seen in looks if not isinstance(seen, bool)]
    return bad, arrays if len(arrays) + len(bad) == len(paths) else None


def statistics(images: Images, numbers: Ints) -> tuple[int, tuple[float, ...], tuple[float, ...], int]:
    """Channels, mean and std of pixels scaled to [0, 1], and median shorter side, of the first images of ``numbers``.

    Looks at up to :data:`SAMPLE_IMAGES` images, or fewer once :data:`SAMPLE_PIXELS` have been seen. One channel where
    every image is grey, else three. A std below 1/255 (constant images) counts as 1/255.
    """
    sums, squares, pixels = np.zeros(3), np.zeros(3), 0
    sides, grey = [], True
    for image in _looked_at(images, numbers[:SAMPLE_IMAGES]):
        counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
        grey &= len(counts) == 1
        sums += counts @ _LEVELS
        squares += counts @ _LEVELS**2
        sides.append(min(image.size))
        pixels += image.width * image.height
        if pixels >= SAMPLE_PIXELS:
            break
    mean = sums / pixels
    std = np.maximum(np.sqrt(np.maximum(squares / pixels - mean**2, 0)), 1 / 255)
    channels = 1 if grey else 3
    return channels, _rounded(mean[:channels]), _rounded(std[:channels]), int(np.median(sides))


_LEVELS = np.arange(256) / 255


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)


def _looked_at(images: Images, numbers: Iterable[int]) -> Iterator[Image.Image]:
    with quiet_pil():
        for number in numbers:
            yield images.image(int(number))


@contextmanager
def quiet_pil() -> Iterator[None]:
    """Without PIL's remarks about odd metadata; what cannot be decoded is reported by name anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def threads() -> int:
    """Threads for decoding, which PIL does outside Python's lock."""
    return min(8, os.cpu_count() or 1)
