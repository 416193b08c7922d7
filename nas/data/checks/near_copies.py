"""Images that look alike, such as the same photo saved twice: by a hash of what they show."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from nas.data.dataset import Dataset, Ints
from nas.data.decode import quiet_pil, threads
from nas.store.records import SPLITS

SIDE = 8
"""A hash has a bit for each of 8 x 8 places and two directions: whether it gets brighter there."""
FAR = 8
"""Bits of 128 by which the hashes of near copies differ at most."""
_FLAT = 16
"""Bits that a hash has at least of each kind: those of images that show hardly anything are equal by chance."""


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images that look alike, by names, and how many images of the first split have such a partner."""

    split: str
    other: str
    images: int
    example: tuple[str, str]


def difference_hash(image: Image.Image) -> int:
    """128 bits, about the same for an image saved again, resized, or slightly brighter.

    Differences of neighbours along both axes of the image at 9 x 9 pixels (Neal Krawetz, "Kind of Like That", 2013).
    """
    small = np.asarray(image.convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX), dtype=np.int16)
    bits = np.concatenate([(np.diff(small[:-1], axis=1) > 0).ravel(), (np.diff(small[:, :-1], axis=0) > 0).ravel()])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_near_copies(dataset: Dataset) -> list[NearCopies]:
    """Near copies across splits, and under two classes within one; identical images count too where they stayed."""
    splits = np.empty(len(dataset.images), dtype=object)
    for split in SPLITS:
        splits[dataset.splits[split]] = split
    numbers = np.sort(np.concatenate([dataset.splits[split] for split in SPLITS]))
    found: dict[tuple[str, str], dict[int, int]] = {}
    for a, b in _pairs(_hashes(dataset, numbers)):
        one, other = int(numbers[a]), int(numbers[b])
        first, second = sorted((one, other), key=lambda n: SPLITS.index(splits[n]))
        if splits[first] != splits[second] or dataset.labels[first] != dataset.labels[second]:
            found.setdefault((splits[first], splits[second]), {}).setdefault(first, second)
    name = dataset.images.name
    return [
        NearCopies(split, other, len(pairs), (name(min(pairs)), name(pairs[min(pairs)])))
        for (split, other), pairs in sorted(found.items())
    ]


def describe(near: NearCopies) -> str:
    """A line for people."""
    where = f"images of the {near.split} split look like images of the {near.other} split"
    if near.split == near.other:
        where = f"images of the {near.split} split look like images of another class"
    return f"{near.images:,} {where}: '{near.example[0]}' and '{near.example[1]}'; look at them"


def _hashes(dataset: Dataset, numbers: Ints) -> list[int]:
    with quiet_pil(), ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(lambda number: difference_hash(dataset.images.image(int(number))), numbers))


def _pairs(hashes: list[int]) -> Iterator[tuple[int, int]]:
    """Positions of hashes that differ by at most :data:`FAR` bits: one of ``FAR + 1`` parts is equal."""
    width, bits = -(-2 * SIDE * SIDE // (FAR + 1)), 2 * SIDE * SIDE
    tellings = [i for i, value in enumerate(hashes) if _FLAT <= value.bit_count() <= bits - _FLAT]
    seen: set[tuple[int, int]] = set()
    for part in range(FAR + 1):
        alike: dict[int, list[int]] = {}
        for i in tellings:
            alike.setdefault(hashes[i] >> (part * width) & ((1 << width) - 1), []).append(i)
        for group in alike.values():
            for a, b in combinations(group, 2):
                if (a, b) not in seen and (hashes[a] ^ hashes[b]).bit_count() <= FAR:
                    seen.add((a, b))
                    yield a, b
