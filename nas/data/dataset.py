"""A data set: images, labels, three disjoint splits, and the description a checkpoint keeps of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.data.folders.tree import same_form
from nas.store.records import DataInfo
from nas.tasks.task import Task, get_task
from search_spaces.architecture import Interface
from search_spaces.errors import UserError

from .preparation import with_channels

SMALL_SIDE = 40
"""Images up to this native side (pixels) are treated as CIFAR is: padded crops, no zoom, nothing cropped away."""
MEMORY_BYTES = 512 * 2**20
"""Decoded images are held in memory where a whole set takes no more than this."""
CACHE_BYTES = 2**30

Ints = NDArray[np.int64]


class Images(Protocol):
    """Decoded images by number; a mode is always ``L`` or ``RGB``."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image: ...

    def name(self, index: int) -> str: ...


class PixelCache:
    """Evaluation pixels (uint8) by key, oldest dropped first once they exceed :data:`CACHE_BYTES`."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Any, ...], torch.Tensor] = OrderedDict()

    def first(self, key: tuple[Any, ...], n: int, make: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
        """The first ``n`` images under ``key``; ``make(start, stop)`` supplies those not held yet."""
        held = self._held.pop(key, None)
        if held is None:
            held = make(0, n)
        elif len(held) < n:
            held = torch.cat([held, make(len(held), n)])
        self._held[key] = held
        while len(self._held) > 1 and sum(t.numel() for t in self._held.values()) > CACHE_BYTES:
            self._held.popitem(last=False)
        return held[:n]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels ``[len(images)]`` and splits.

    Attributes:
        info: description, kept with checkpoints.
        splits: image numbers of each split, disjoint. The order is such that the classes of any prefix are mixed in
            their overall proportions: ``limit=n`` is a stratified sample.
        warnings: what was left out or looks odd, a line each, for the user to read.
        drawn: splits that the source does not have, which were drawn from its training images.
        corrupt: name of every image that was left out, and why.
        sizes: (width, height) of the smallest, the median and the largest of the ``looked_at`` first training images.
    """

    info: DataInfo
    images: Images
    labels: Ints
    splits: dict[str, Ints]
    warnings: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    corrupt: tuple[tuple[str, str], ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    looked_at: int = 0
    cache: PixelCache = field(default_factory=PixelCache, repr=False)

    @property
    def train(self) -> Ints:
        return self.splits["train"]

    @property
    def interface(self) -> Interface:
        return interface_of(self.info)

    @property
    def task(self) -> Task:
        return get_task(self.info.task)

    def image(self, index: int) -> Image.Image:
        """Image number ``index`` in the mode of the data set: ``L`` or ``RGB``."""
        return with_channels(self.images.image(index), self.info.in_chans)


def interface_of(info: DataInfo) -> Interface:
    """The two ends of a network for a data set, as its task says."""
    return get_task(info.task).interface(info.in_chans, info.classes)


def check_compatible(info: DataInfo, other: DataInfo) -> None:
    """Check that a model trained on ``info`` can be used with ``other``: equal channels and equal classes.

    Raises:
        UserError: names both sources and what differs.
    """
    if info.in_chans != other.in_chans:
        raise UserError(
            f"the run was trained on '{info.source}' with {info.in_chans}-channel images, but '{other.source}' has "
            f"{other.in_chans}-channel images; give the run's own data or train a new supernet on '{other.source}'"
        )
    if [*map(same_form, info.classes)] != [*map(same_form, other.classes)]:
        raise UserError(
            f"the run was trained on '{info.source}' with {info.num_classes} classes, '{other.source}' has "
            f"{other.num_classes}: {_difference(info.classes, other.classes)}; "
            f"give data with the run's classes or train a new supernet"
        )


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    missing, extra = [c for c in ours if c not in theirs], [c for c in theirs if c not in ours]
    parts = [f"{word} {listed(names)}" for word, names in (("missing", missing), ("unknown", extra)) if names]
    return ", ".join(parts) or "the same names in another order"


def listed(names: Sequence[str], limit: int = 3) -> str:
    """The first names, and how many more."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
