"""From an image file to a network's input, with numpy and Pillow alone.

The only definition of it: training and evaluation decode with these functions, and every script for devices contains
the text of this file. So it imports nothing of this project, and runs on Python 3.9 and Pillow 9.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling, Transpose

ORIENTATION = 0x0112
"""EXIF's tag of that name."""
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip
"""What puts a picture upright, by its orientation."""


class Given(TypedDict, total=False):
    """How a network expects images, as exported files say it; ``levels`` may be missing."""

    input_size: tuple[int, int, int]
    levels: tuple[float, float]
    crop_pct: float
    interpolation: str
    mean: list[float]
    std: list[float]


def prepare(file: str | Path | IO[bytes], given: Given) -> NDArray[np.float32]:
    """A network's input ``[C, side, side]`` from a file: decoded, resized, cropped and normalised."""
    channels, side, _ = given["input_size"]
    image = with_channels(decode(file, given.get("levels")), channels)
    pixels = resize_and_crop(image, side, given["crop_pct"], given["interpolation"])
    mean, std = (np.array(given[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std


def decode(file: str | Path | IO[bytes], levels: tuple[float, float] | None = None) -> Image.Image:
    """Decode a file's first frame as :func:`to_grey_or_rgb` has it. Raises whatever Pillow raises on a damaged one."""
    if isinstance(file, (str, Path)):  # of a path, Pillow maps some files into memory, and swaps sides of turned ones
        with open(file, "rb") as stream:
            return decode(stream, levels)
    with Image.open(file) as image:
        return to_grey_or_rgb(image, levels)


def to_grey_or_rgb(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """The decoded image, upright as its EXIF data say, with 8 bits a channel: in mode ``L`` or ``RGB``.

    An alpha channel is dropped, as timm drops it.

    Args:
        levels: (black, white), the values that become 0 and 255 in grey images of more than 8 bits; those beyond are
            clipped. None: the upper 8 of 16 bits; floats are taken to be 0 to 255.
    """
    image.load()  # some formats tell their orientation behind the pixels
    turn = turn_of(image)
    image = _eight_bits(image, levels)
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Transpose | None:
    """What puts an image upright, as its EXIF data say."""
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata do not make the pixels unusable
        return None


def _eight_bits(image: Image.Image, levels: tuple[float, float] | None) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I") or (image.mode == "F" and levels is not None):
        return Image.fromarray(_scale(np.asarray(image), *(levels or (0, 65535))))
    if image.mode in ("La", "RGBa"):  # colours multiplied by their alpha
        image = image.convert(image.mode.upper())
    return image.convert("L" if image.mode in ("1", "LA", "F") else "RGB")


def _scale(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Values from ``black`` to ``white`` as 0 to 255: in 256 steps of the same width for whole numbers, rounded to the
    nearest for others, black for what is no number."""
    if values.dtype.kind in "iu" and black == int(black) and white == int(white):
        low, high = int(black), int(white)
        return ((values.astype(np.int64) - low) * 256 // (high - low + 1)).clip(0, 255).astype(np.uint8)
    nearest = np.rint((values.astype(np.float64) - black) * 255 / (white - black))
    return np.where(np.isnan(nearest), 0, nearest).clip(0, 255).astype(np.uint8)


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """An image in mode ``L`` for one channel, else ``RGB``."""
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def shorter_side(side: int, crop_pct: float) -> int:
    """What an image's shorter side becomes, of which the middle ``side`` pixels are used."""
    return int(side / crop_pct)


def resize_and_crop(image: Image.Image, side: int, crop_pct: float, interpolation: str) -> NDArray[np.uint8]:
    """Pixels ``[C, side, side]`` of the middle of an image whose shorter side becomes ``side / crop_pct``."""
    short = shorter_side(side, crop_pct)
    width, height = (int(short * length / min(image.size)) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Resampling[interpolation.upper()])
    left, top = (round((length - side) / 2) for length in (width, height))
    pixels = np.asarray(image.crop((left, top, left + side, top + side))).reshape(side, side, -1)
    return np.array(pixels.transpose(2, 0, 1), order="C")  # a copy: what Pillow gives cannot be written to
