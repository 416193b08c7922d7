"""Rebuild the embedded data set from the original Fashion-MNIST files: ``python tools/make_embedded.py OUT [SOURCE]``.

The files are those of Zalando Research (https://github.com/zalandoresearch/fashion-mnist, MIT), which Debian ships as
the package ``dataset-fashion-mnist``. The subset is class-balanced and drawn with a fixed seed: ``test`` comes from
the original test file, ``train`` and ``search`` from the original training file, so that nothing crosses over.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SOURCE = "/usr/share/datasets/fashion-mnist"
PER_CLASS = {"train": 1200, "search": 200, "test": 300}
SEED = 2017

Bytes = NDArray[np.uint8]


def read_idx(path: Path) -> Bytes:
    """The array of an IDX file of bytes: magic ``0 0 8 ndim``, one big-endian int32 a dimension, then the data."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def draw(labels: Bytes, per_class: dict[str, int], rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Disjoint, class-balanced index lists, ascending within a class."""
    out: dict[str, list[NDArray[np.int64]]] = {name: [] for name in per_class}
    for label in range(len(CLASSES)):
        order, start = rng.permutation(np.flatnonzero(labels == label)), 0
        for name, count in per_class.items():
            out[name].append(np.sort(order[start : start + count]))
            start += count
    return {name: np.concatenate(parts) for name, parts in out.items()}


def make(out: Path, source: Path) -> None:
    """Write the subset to ``out`` (``.npz``)."""
    rng, arrays = np.random.default_rng(SEED), {"classes": np.array(CLASSES)}
    for prefix, names in (("train", ("train", "search")), ("t10k", ("test",))):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        for name, indices in draw(labels, {n: PER_CLASS[n] for n in names}, rng).items():
            arrays |= {f"{name}_images": images[indices], f"{name}_labels": labels[indices]}
    with out.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    make(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else SOURCE))
