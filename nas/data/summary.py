"""What a data set holds, for a person to look at before hours of training: classes, splits, sizes, corrupt images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.data.checks.near_copies import NearCopies, describe, find_near_copies
from nas.data.sources.readable import NAMED
from nas.store.records import SPLITS
from nas.store.words import colour_of

from .dataset import Dataset


@dataclass(frozen=True)
class ClassCount:
    """A class and how many images of it a split holds."""

    name: str
    images: int


@dataclass(frozen=True)
class SplitSummary:
    """One split, which was ``drawn`` from the training images or is the source's own, and its extreme classes."""

    images: int
    drawn: bool
    smallest: ClassCount
    largest: ClassCount


@dataclass(frozen=True)
class CorruptImage:
    """An image that was left out, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Corrupt:
    """How many images were left out, and the first of them."""

    images: int
    first: tuple[CorruptImage, ...]


@dataclass(frozen=True)
class Summary:
    """What a data set holds.

    Attributes:
        channels: 1 for grey, 3 for colour.
        sizes: (width, height) in pixels of the smallest, the median and the largest of ``looked_at`` training images.
        usable: whether every image can be used.
        near_copies: images that look alike though they should not; empty where they were not looked for.
    """

    source: str
    classes: tuple[str, ...]
    channels: int
    splits: dict[str, SplitSummary]
    sizes: tuple[tuple[int, int], ...]
    looked_at: int
    corrupt: Corrupt
    warnings: tuple[str, ...]
    usable: bool
    near_copies: tuple[NearCopies, ...] = ()


def summarise(dataset: Dataset, near: bool = False) -> Summary:
    """The summary of an open data set; ``near``: look for images that look alike, too."""
    info = dataset.info
    splits = {}
    for name in SPLITS:
        counts = np.bincount(dataset.labels[dataset.splits[name]], minlength=info.num_classes)
        ends = [ClassCount(info.classes[i], int(counts[i])) for i in (int(counts.argmin()), int(counts.argmax()))]
        splits[name] = SplitSummary(int(counts.sum()), name in dataset.drawn, *ends)
    corrupt = Corrupt(len(dataset.corrupt), tuple(CorruptImage(*each) for each in dataset.corrupt[:NAMED]))
    alike = tuple(find_near_copies(dataset)) if near else ()
    warnings = (*dataset.warnings, *map(describe, alike))
    return Summary(
        info.source, info.classes, info.in_chans, splits, dataset.sizes, dataset.looked_at, corrupt, warnings,
        usable=not dataset.corrupt, near_copies=alike,
    )  # fmt: skip


def lines(summary: Summary) -> list[str]:
    """The summary as text: what there is, but for warnings."""
    out = [f"{summary.source}: {len(summary.classes)} classes, {colour_of(summary.channels)} images, {_sizes(summary)}"]
    for name, split in summary.splits.items():
        low, high = split.smallest, split.largest
        classes = f"{low.images:,} per class"
        if low.images != high.images:
            classes = f"{low.images:,} ({low.name}) to {high.images:,} ({high.name}) per class"
        origin = "drawn from train, by class and seed" if split.drawn else "as the source has it"
        if name == "train" and any(other.drawn for other in summary.splits.values()):
            origin = "what is left of train"
        out.append(f"  {name:<7}{split.images:>9,} images, {classes}; {origin}")
    return out


def _sizes(summary: Summary) -> str:
    small, middle, large = (f"{width} x {height}" for width, height in summary.sizes)
    if small == large:
        return f"{small} px"
    return f"{small} to {large} px, half of {summary.looked_at:,} looked at up to {middle}"
