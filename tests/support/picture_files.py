"""Image files for tests of data: every one shows something else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels_of(seed: int, side: int = 12, channels: int = 3) -> NDArray[np.uint8]:
    """Noise ``[side, side, channels]``, another for each seed; ``[side, side]`` for one channel."""
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_pictures(root: Path, names: Iterable[str], first: int = 0, **options: Any) -> list[Path]:
    """Write a picture under each name below ``root``, of seeds from ``first`` on; returns the paths."""
    paths = [root / name for name in names]
    for seed, path in enumerate(paths, start=first):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_of(seed)).save(path, **({"format": "PNG"} if not path.suffix else {}), **options)
    return paths


def write_layout(root: Path, folders: dict[str, int]) -> Path:
    """Write so many pictures into each folder below ``root``; returns ``root``."""
    first = 0
    for folder, count in folders.items():
        write_pictures(root, [f"{folder}/{i:02d}.png" for i in range(count)], first)
        first += count
    return root
