"""Batches: training batches that are a pure function of (seed, step), and evaluation batches in a fixed order."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nas.data_decode import threads
from nas.data_set import CACHE_BYTES, MEMORY_BYTES, SMALL_SIDE, SPLITS, Dataset, Ints, PixelCache
from nas.data_transforms import eval_transform, image_transform, normalise, plan_augment, shift_and_flip
from search_spaces.errors import UsageError, UserError, unknown_name

Batch = tuple[Tensor, Tensor]


def train_batches(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    start_step: int,
    steps: int,
    size: int,
    augment: str = "auto",
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches of steps ``start_step .. start_step + steps - 1``.

    The batch of a step depends on (data set, batch_size, seed, step, size, augment) only: not on where the run was
    resumed, nor on ``workers``. An epoch is a permutation of the training split with the incomplete last batch
    dropped; a split smaller than a batch is repeated within it. The global random generators are left as they were.

    Args:
        dataset: open data set.
        batch_size: images a batch.
        seed: not negative.
        start_step, steps: first step, and how many.
        size: side of the images in pixels; the trainer shrinks whole batches itself.
        augment: one of ``auto``, ``none``, ``light``, ``strong``.
        workers: processes; 0 works in this one. They ignore SIGINT and end when the iterator is closed or dropped.
        pin_memory: for a GPU.

    Yields:
        float32 images ``[batch_size, C, size, size]``, normalised, and int64 labels ``[batch_size]``.

    Raises:
        UsageError: unknown ``augment``, or a batch without images.
        UserError: an image cannot be decoded any more.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size} is not possible; give 1 or more")
    return _iterate(
        DataLoader(
            TrainSteps(dataset, batch_size, seed, size, augment),
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

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, size: int, augment: str) -> None:
        self.plan = plan_augment(augment, dataset.info)
        self.dataset = replace(dataset, cache=PixelCache())  # the evaluation's pixels need not go to workers
        self.numbers = dataset.splits["train"]
        self.batch_size, self.seed, self.size = batch_size, seed, size
        self.held: Tensor | None = None
        if self.plan == "image":
            self.transform = image_transform(augment, dataset.info, size)
        elif len(self.numbers) * dataset.info.in_chans * size * size <= MEMORY_BYTES:
            self.held = eval_pixels(self.dataset, self.numbers, size)

    def __getitem__(self, step: int) -> Batch | UserError:
        chosen = self.chosen(step)
        try:
            return self.images(chosen, step), torch.from_numpy(self.dataset.labels[self.numbers[chosen]])
        except UserError as error:
            return error

    def chosen(self, step: int) -> Ints:
        """Positions within the training split of the batch of ``step``, ``[batch_size]``."""
        n, size = len(self.numbers), self.batch_size
        if n >= size:
            epoch, position = divmod(step, n // size)
            return self._permutation(epoch)[position * size : (position + 1) * size]
        repeats = -(-size // n)
        return np.concatenate([self._permutation(step * repeats + i) for i in range(repeats)])[:size]

    def images(self, chosen: Ints, step: int) -> Tensor:
        """Normalised images ``[batch_size, C, size, size]``."""
        info, rng = self.dataset.info, np.random.default_rng([self.seed, 3, step])
        if self.plan == "image":
            with _own_randomness():
                return torch.stack([self._image(int(c), int(rng.integers(2**32))) for c in chosen])
        if self.held is not None:
            pixels = self.held[torch.from_numpy(chosen)]
        else:
            transform = eval_transform(info, self.size)
            pixels = torch.stack([transform(self.dataset.image(int(n))) for n in self.numbers[chosen]])
        if self.plan == "shift":
            pixels = shift_and_flip(pixels, torch.Generator().manual_seed(int(rng.integers(2**62))))
        return normalise(pixels, info)

    def _image(self, position: int, seed: int) -> Tensor:
        image = self.dataset.image(int(self.numbers[position]))
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        return self.transform(image)

    def _permutation(self, epoch: int) -> Ints:
        order: Ints = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.numbers))
        return order


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Put the global generators of random, numpy and torch (CPU) back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


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

    Args:
        dataset: open data set.
        split: ``train``, ``search`` or ``test``.
        resolution: side in pixels.
        batch_size: images a batch; the last may be smaller.
        limit: the first so many only, a stratified sample.
    """
    numbers = _numbers(dataset, split, limit)
    held = _held(dataset, split, resolution, len(numbers))
    labels = torch.from_numpy(dataset.labels[numbers])
    for start in range(0, len(numbers), batch_size):
        stop = min(start + batch_size, len(numbers))
        pixels = held[start:stop] if held is not None else eval_pixels(dataset, numbers[start:stop], resolution)
        yield normalise(pixels, dataset.info), labels[start:stop]


def eval_tensors(dataset: Dataset, split: str, resolution: int, limit: int | None = None) -> Batch:
    """All of :func:`eval_batches` at once: float32 ``[n, C, R, R]`` and labels ``[n]``."""
    numbers = _numbers(dataset, split, limit)
    held = _held(dataset, split, resolution, len(numbers))
    pixels = held if held is not None else eval_pixels(dataset, numbers, resolution)
    return normalise(pixels, dataset.info), torch.from_numpy(dataset.labels[numbers])


def calibration_images(dataset: Dataset, resolution: int, n: int = 256) -> Tensor:
    """``n`` training images (fewer where there are fewer) with classes mixed and the evaluation transform."""
    return eval_tensors(dataset, "train", resolution, n)[0]


def _numbers(dataset: Dataset, split: str, limit: int | None) -> Ints:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return dataset.splits[split][:limit]


def _held(dataset: Dataset, split: str, resolution: int, n: int) -> Tensor | None:
    info = dataset.info
    if n * info.in_chans * resolution * resolution > CACHE_BYTES:
        return None
    key = (split, resolution, info.in_chans, info.crop_pct, info.interpolation)
    numbers = dataset.splits[split]
    return dataset.cache.first(key, n, lambda start, stop: eval_pixels(dataset, numbers[start:stop], resolution))
