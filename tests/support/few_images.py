"""A data set of few images in place of the embedded one, for documents that are run as they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.data.sources.embedded import ARRAYS

COUNTS = {"train": 100, "search": 40, "test": 40}


def write_few(path: Path) -> None:
    """Write every n-th image of the embedded data set, which lie class by class."""
    with np.load(ARRAYS) as file:
        few = {split: len(file[f"{split}_labels"]) // n for split, n in COUNTS.items()}
        arrays = {
            f"{s}_{part}": file[f"{s}_{part}"][::step] for s, step in few.items() for part in ("images", "labels")
        }
        np.savez(path, classes=file["classes"], **arrays)
