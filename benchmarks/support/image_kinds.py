"""Image files of every kind that Pillow writes, with the pixels that they stand for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ORIENTATION = 0x0112

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "1": ("png", "tif", "gif"),
    "L": ("png", "jpg", "tif", "gif", "webp", "bmp"),
    "LA": ("png", "tif"),
    "P": ("png", "gif", "tif"),
    "PA": ("gif",),
    "RGB": ("png", "jpg", "tif", "webp", "bmp", "ppm"),
    "RGBA": ("png", "tif", "webp"),
    "RGBX": ("tif",),
    "CMYK": ("jpg", "tif"),
    "YCbCr": ("jpg", "tif"),
    "LAB": ("tif",),
    "I;16": ("png", "tif"),
    "I;16B": ("tif",),
    "I": ("tif",),
    "F": ("tif",),
}
"""Modes -> endings of files that hold them."""
DEEP = ("I;16", "I;16B", "I", "F")
ANIMATED = ("gif", "webp", "tif", "png")
TURNED = ("jpg", "png", "tif", "webp")
"""Endings of files that tell an orientation."""


@dataclass(frozen=True)
class Kind:
    """What a file is written as."""

    mode: str
    ending: str
    orientation: int = 1
    frames: int = 1
    transparent: bool = False


def pixels_of(kind: Kind, size: tuple[int, int], rng: np.random.Generator, white: float) -> Image.Image:
    """A noisy picture in the mode; deep ones have values from 0 to ``white``."""
    width, height = size
    if kind.mode in DEEP:
        values = rng.random((height, width)) * white
        if kind.mode == "F":
            return Image.fromarray(values.astype(np.float32))
        if kind.mode == "I":
            return Image.fromarray(values.astype(np.int32))
        return Image.fromarray(values.astype(">u2" if kind.mode == "I;16B" else "<u2"))
    colours = Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8))
    if kind.mode in ("P", "PA"):
        return colours.quantize(16)
    if kind.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(colours, *profiles, outputMode="LAB")
        assert converted is not None
        return converted
    if kind.mode in ("LA", "RGBA"):
        faint = colours.convert(kind.mode)
        faint.putalpha(Image.fromarray(rng.integers(256, size=(height, width), dtype=np.uint8)))
        return faint
    return colours.convert("L").convert("1") if kind.mode == "1" else colours.convert(kind.mode)


def write(kind: Kind, path: Path, size: tuple[int, int], rng: np.random.Generator, white: float = 65535) -> None:
    """Write a file of a kind; ``white``: the brightest value of a deep one."""
    first, *others = (pixels_of(kind, size, rng, white) for _ in range(kind.frames))
    options: dict[str, Any] = {}
    if kind.orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = kind.orientation
    if others:
        options |= {"save_all": True, "append_images": others}
    if kind.transparent:
        options["transparency"] = 0
    first.save(path, **options)


def expected(path: Path, levels: tuple[float, float] | None) -> NDArray[np.uint8]:
    """The pixels ``[H, W]`` or ``[H, W, 3]`` that a file stands for, from Pillow's own words and Python's own numbers:
    slowly, and in another order than the code's."""
    with Image.open(io.BytesIO(path.read_bytes())) as opened:  # Pillow scrambles some turned TIFF files of a path
        image = ImageOps.exif_transpose(opened)
    assert image is not None
    if image.mode[0] in "IF" and (image.mode != "F" or levels is not None):
        black, white = levels or (0, 65535)
        return np.array([[_level(v, black, white) for v in row] for row in np.asarray(image).tolist()], np.uint8)
    grey = image.mode in ("1", "L", "LA", "F")
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("L" if grey else "RGB"))


def _level(value: float, black: float, white: float) -> int:
    if isinstance(value, int) and float(black).is_integer() and float(white).is_integer():
        steps = (value - int(black)) * 256 // (int(white) - int(black) + 1)
    else:
        steps = round((value - black) * 255 / (white - black))
    return min(255, max(0, steps))


def kinds() -> list[Kind]:
    """Every mode in every format, upright; and turned, with more frames and with a transparent colour where a format
    has them."""
    found = []
    for mode, endings in ENDINGS.items():
        for i, ending in enumerate(endings):
            found.append(Kind(mode, ending))
            if ending in TURNED:
                found.append(Kind(mode, ending, orientation=2 + (len(found) + i) % 7))
            if ending in ANIMATED and mode not in ("I", "I;16", "I;16B", "F", "1", "LAB", "CMYK", "YCbCr", "RGBX"):
                found.append(Kind(mode, ending, frames=3))
    return [*found, Kind("P", "png", transparent=True), Kind("P", "gif", transparent=True),
            Kind("P", "gif", transparent=True, frames=2)]  # fmt: skip
