"""The embedded data set: a subset of Fashion-MNIST that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.data.decode import ArrayImages
from nas.store.records import SPLITS

from .source import Contents, Request

ARRAYS = Path(__file__).parents[1] / "embedded" / "fashion_mnist.npz"
"""Images and labels of each split, and the names of the classes."""


class Embedded:
    """``embedded``."""

    def open(self, name: str, request: Request) -> Contents:
        with np.load(ARRAYS) as file:
            arrays = {name: file[name] for name in file.files}
        images = np.concatenate([arrays[f"{split}_images"] for split in SPLITS])
        labels = np.concatenate([arrays[f"{split}_labels"] for split in SPLITS]).astype(np.int64)
        ends = np.cumsum([0, *(len(arrays[f"{split}_labels"]) for split in SPLITS)])
        given = {split: np.arange(ends[i], ends[i + 1]) for i, split in enumerate(SPLITS)}
        return Contents(ArrayImages(list(images)), labels, tuple(str(c) for c in arrays["classes"]), given)
