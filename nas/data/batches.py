"""Batches: training batches that are a pure function of (seed, step), and evaluation batches in a fixed order."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nas.store.records import SPLITS
from nas.store.seeds import stream
from nas.store.spawned import check_processes_begin
from search_spaces.errors import UsageError, UserError, unknown_name

from .augment import EVERYTHING, Parts, erase, image_transform, plan_augment, shift_and_flip
from .dataset import CACHE_BYTES, MEMORY_BYTES, SMALL_SIDE, Dataset, Ints, PixelCache
from .decode import threads
from .transforms import eval_transform, normalise, own_randomness

Batch = tuple[Tensor, Tensor]
Rows = slice | Ints
ALL = slice(None)


def train_batches(
    dataset: Dataset, batch_size: int, seed: int, start_step: int, steps: int, size: int, augment: str = "auto",
    workers: int = 0, pin_memory: bool = False, erasing: float | None = None, rows: Rows = ALL,
    parts: Parts = EVERYTHING,
) -> Iterator[Batch]:  # fmt: skip
    """Batches of steps ``start_step .. start_step + steps - 1``.

    The batch of a step depends on (data set, batch_size, seed, step, size, augment, erasing, parts) only: not on
    where the run was resumed, nor on ``workers``. An epoch is a permutation of the training split with the incomplete
    last batch dropped; a split smaller than a batch is repeated within it. The global random generators are left as
    they were.

    Args:
        size: side of the images in pixels; the trainer shrinks whole batches itself.
        augment: one of ``auto``, ``none``, ``light``, ``strong``.
        workers: processes; 0 works in this one. They ignore SIGINT and end when the iterator is closed or dropped.
        pin_memory: for a GPU.
        erasing: probability of random erasing; None: as the augmentation has it, 0.25 for ``strong``, else 0.
        rows: which images of the batch, the share of one of several processes; the others are not decoded.
        parts: of the augmentation that may be done.

    Yields:
        float32 images ``[batch_size, C, size, size]``, normalised, and int64 labels ``[batch_size]``; of ``rows``.

    Raises:
        UsageError: unknown ``augment``, or a batch without images.
        UserError: an image cannot be decoded any more, or a process cannot begin: the script has no main guard.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size} is not possible; give 1 or more")
    if workers:
        check_processes_begin()
    return _iterate(
        DataLoader(
            TrainSteps(dataset, batch_size, seed, size, augment, erasing, rows, parts),
            batch_size=None,  # an item is a whole batch already
            sampler=range(start_step, start_step + steps),
            num_workers=workers,
            collate_fn=_as_is,
            worker_init_fn=_ignore_interrupts,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # the default one would draw from the global generator
        )
    )


def _iterate(loader: DataLoader[Any]) -> Iterator[Batch]:
    # the loop holds the only reference to the loader's iterator, so leaving it in any way ends the workers
    for item in loader:
        if isinstance(item, UserError):
            raise item
        yield item


def _as_is(item: Any) -> Any:
    return item


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C reaches the whole process group; the main process alone decides what to do about it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TrainSteps(TorchDataset[Batch | UserError]):
    """Training batches by step number. A UserError is returned, not raised: workers would bury its message."""

    def __init__(
        self, dataset: Dataset, batch_size: int, seed: int, size: int, augment: str, erasing: float | None = None,
        rows: Rows = ALL, parts: Parts = EVERYTHING,
    ) -> None:  # fmt: skip
        self.rows, self.parts = rows, parts
        self.plan = plan_augment(augment, dataset.info)
        self.dataset = replace(dataset, cache=PixelCache())  # the evaluation's pixels need not go to workers
        self.numbers = dataset.train
        self.batch_size, self.seed, self.size = batch_size, seed, size
        self.held: Tensor | None = None
        self.erase = erase(erasing) if erasing and self.plan != "image" else None
        if self.plan == "image":
            self.transform = image_transform(augment, dataset.info, size, erasing, parts)
        elif len(self.numbers) * dataset.info.in_chans * size * size <= MEMORY_BYTES:
            self.held = eval_pixels(self.dataset, self.numbers, size)

    def __getitem__(self, step: int) -> Batch | UserError:
        chosen = self.chosen(step)
        try:
            return self.images(chosen, step), torch.from_numpy(self.dataset.labels[self.numbers[chosen[self.rows]]])
        except UserError as error:
            return error

    def chosen(self, step: int) -> Ints:
        """Positions within the training split of the batch of ``step``, ``[batch_size]``."""
        return train_positions(len(self.numbers), self.batch_size, self.seed, step)

    def images(self, chosen: Ints, step: int) -> Tensor:
        """Normalised images ``[batch_size, C, size, size]`` of the batch; the ``rows`` of them."""
        info, rng = self.dataset.info, stream(self.seed, "train.augment", step)
        if self.plan == "image":
            seeds = np.array([int(rng.integers(2**32)) for _ in chosen])
            own = zip(chosen[self.rows], seeds[self.rows], strict=True)
            with own_randomness():
                return torch.stack([self._image(int(c), int(seed)) for c, seed in own])
        pixels = self.held[torch.from_numpy(chosen)] if self.held is not None else self._pixels(chosen)
        if self.plan == "shift":
            pixels = shift_and_flip(pixels, torch.Generator().manual_seed(int(rng.integers(2**62))), self.parts)
        images = normalise(pixels, info)
        if self.erase is not None:
            with own_randomness():
                _seed_all(int(rng.integers(2**32)))
                images = self.erase(images)
        return images[self.rows]

    def _pixels(self, chosen: Ints) -> Tensor:
        """Pixels of the batch; those of other processes are 0, since what is drawn is drawn for the whole batch."""
        transform, info = eval_transform(self.dataset.info, self.size), self.dataset.info
        pixels = torch.zeros(len(chosen), info.in_chans, self.size, self.size, dtype=torch.uint8)
        for row in np.unique(np.arange(len(chosen))[self.rows]):
            pixels[row] = transform(self.dataset.image(int(self.numbers[chosen[row]])))
        return pixels

    def _image(self, position: int, seed: int) -> Tensor:
        image = self.dataset.image(int(self.numbers[position]))
        _seed_all(seed)
        return self.transform(image)


def train_positions(n: int, batch_size: int, seed: int, step: int) -> Ints:
    """Which of ``n`` training images the batch of ``step`` holds: positions within the split, ``[batch_size]``."""
    if n >= batch_size:
        epoch, position = divmod(step, n // batch_size)
        return _permutation(n, seed, epoch)[position * batch_size : (position + 1) * batch_size]
    repeats = -(-batch_size // n)
    return np.concatenate([_permutation(n, seed, step * repeats + i) for i in range(repeats)])[:batch_size]


@lru_cache(2)
def _permutation(n: int, seed: int, epoch: int) -> Ints:
    order: Ints = stream(seed, "train.order", epoch).permutation(n)
    return order


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def eval_pixels(dataset: Dataset, numbers: Sequence[int] | Ints, resolution: int) -> Tensor:
    """Evaluation pixels of the images ``numbers``: uint8 ``[n, C, R, R]``, before normalisation."""
    transform = eval_transform(dataset.info, resolution)
    out = torch.empty((len(numbers), dataset.info.in_chans, resolution, resolution), dtype=torch.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + 64, len(numbers))):
            out[i] = transform(dataset.image(int(numbers[i])))

    # tiny images spend their time inside Python's lock, where threads only get in each other's way
    with ThreadPoolExecutor(1 if dataset.info.native_size <= SMALL_SIDE else threads()) as pool:
        list(pool.map(fill, range(0, len(numbers), 64)))
    return out


def eval_batches(
    dataset: Dataset, split: str, resolution: int, batch_size: int, limit: int | None = None
) -> Iterator[Batch]:
    """Normalised images ``[<= batch_size, C, R, R]`` and labels of a split, in its order, with timm's evaluation
    transform. Pixels are held in memory (uint8) for the next call where the split takes at most 1 GiB.

    The last batch may be smaller. ``limit``: the first so many images only, a stratified sample.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    numbers = dataset.splits[split][:limit]
    held = _held(dataset, split, resolution, len(numbers))
    labels = torch.from_numpy(dataset.labels[numbers])
    for start in range(0, len(numbers), batch_size):
        stop = min(start + batch_size, len(numbers))
        pixels = held[start:stop] if held is not None else eval_pixels(dataset, numbers[start:stop], resolution)
        yield normalise(pixels, dataset.info), labels[start:stop]


def calibration_images(dataset: Dataset, resolution: int, n: int = 256) -> Tensor:
    """``n`` training images (fewer where there are fewer) with classes mixed and the evaluation transform."""
    return next(eval_batches(dataset, "train", resolution, n, n))[0]


def _held(dataset: Dataset, split: str, resolution: int, n: int) -> Tensor | None:
    info = dataset.info
    if n * info.in_chans * resolution * resolution > CACHE_BYTES:
        return None
    key = (split, resolution, info.in_chans, info.crop_pct, info.interpolation)
    numbers = dataset.splits[split]
    return dataset.cache.first(key, n, lambda start, stop: eval_pixels(dataset, numbers[start:stop], resolution))
