"""Write a packed set of JPEG images as a data folder: ``python -m benchmarks.support.image_folder NPZ OUT``.

The file holds ``classes`` and, a split, ``<split>_bytes`` (all JPEG files end to end), ``<split>_offsets`` (n + 1) and
``<split>_labels``; the folder is ``OUT/<split>/<class>/<number>.jpg``, the files byte for byte as they were.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")


def write_image_folder(npz: str | Path, out: str | Path, most: int | Mapping[str, int] | None = None) -> int:
    """Write the images of ``npz`` below ``out``, the first ``most`` of each split, or of those that it names; returns
    how many."""
    written, limits = 0, most if isinstance(most, Mapping) else dict.fromkeys(SPLITS, most)
    with np.load(npz) as file:
        arrays = {name: file[name] for name in file.files}
    classes = [str(name).replace("/", "-") for name in arrays["classes"]]
    for split in SPLITS:
        if f"{split}_bytes" not in arrays:
            continue
        packed, offsets = arrays[f"{split}_bytes"].tobytes(), arrays[f"{split}_offsets"]
        for name in classes:
            (Path(out) / split / name).mkdir(parents=True, exist_ok=True)
        for i, label in enumerate(arrays[f"{split}_labels"][: limits.get(split)]):
            target = Path(out) / split / classes[int(label)] / f"{i:05d}.jpg"
            target.write_bytes(packed[int(offsets[i]) : int(offsets[i + 1])])
            written += 1
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path, help="the packed images")
    parser.add_argument("out", type=Path, help="the folder to write")
    given = parser.parse_args()
    print(f"{write_image_folder(given.npz, given.out):,} images written below {given.out}")


if __name__ == "__main__":
    main()
