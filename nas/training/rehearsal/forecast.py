"""Whether a run fits: its steps, seconds and memory, from a few steps on a throw-away copy of the supernet.

Memory is what tensors take: weights, gradients, the optimizer's slots, the weight average, the activations that the
largest subnet keeps for its backward pass, and two gradients as large as the largest of them. torch itself, decoded
images and the scratch space of single operators come on top.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from nas.data.dataset import Dataset
from nas.store.results import CALIBRATION_IMAGES
from nas.training.config import Resources, TrainConfig
from nas.training.step import StepInput, resize, run_passes, update
from nas.training.strategies.base import Pass, Strategy
from nas.training.weights import EVALUATED, pick_watched

from .rehearsal import Rehearsal, aside

WORTH_A_FORECAST = 200
"""Steps of a run that is forecast before it begins: a shorter one is done almost as soon."""
MOST = 12
"""Largest number of steps that are timed."""
_FEWEST, _SECONDS = 3, 2.0
"""Smallest number of steps that are timed, and the seconds after which no further one starts."""
_PROBES = (2, 4)
"""Images of the passes whose activations are counted; the growth between them tells those of a whole batch."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        seconds: of the whole run with its evaluations, on this machine as busy as it is now; None: not timed, since
            it would not fit into memory.
        bytes: of memory on the device.
        free: bytes of it that are free now; None: not known.
    """

    steps: int
    seconds: float | None
    bytes: int
    free: int | None


def forecast(config: TrainConfig, dataset: Dataset, resources: Resources) -> Forecast:
    """Predict a run from its first step on; takes some seconds, and changes nothing."""
    cuda = torch.device(resources.device).type == "cuda"
    with aside():
        rehearsal = Rehearsal(config, _few_images(config, dataset), resources)
        batches = rehearsal.batches(MOST + 1)
        first = next(batches)
        needed = _bytes(rehearsal, first)
        free = free_bytes(resources.device)
        if free is not None and needed > free:
            return Forecast(rehearsal.steps, None, needed, free)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        step = time_step(rehearsal, batches, resources.workers)
        seconds = rehearsal.steps * step + resources.evaluations * time_evaluation(rehearsal, first)
        if cuda:
            needed = max(needed, torch.cuda.max_memory_allocated())
        return Forecast(rehearsal.steps, seconds, needed, free)


def forecast_step(config: TrainConfig, dataset: Dataset, resources: Resources, strategy: Strategy) -> float:
    """Seconds of a step of a run that trains by a strategy of its own; takes some seconds, and changes nothing."""
    with aside():
        rehearsal = Rehearsal(config, _few_images(config, dataset), resources, strategy)
        return time_step(rehearsal, rehearsal.batches(MOST), resources.workers)


def _few_images(config: TrainConfig, dataset: Dataset) -> Dataset:
    """As many training images as are needed: small ones are decoded all at once."""
    few = dataset.train[: config.batch_size * (MOST + 1)]
    return replace(dataset, splits={**dataset.splits, "train": few})


def describe(expected: Forecast) -> str:
    """The forecast in words."""
    size = expected.bytes
    memory = f"{size / 1e6:,.0f} MB of tensors" if size < 1e9 else f"{size / 1e9:.1f} GB of tensors"
    return memory if expected.seconds is None else f"{about(expected.seconds)}, {memory}"


def about(seconds: float) -> str:
    """A time that was forecast, in words."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {hours:.1f} h"


def shortage(expected: Forecast) -> str | None:
    """What to do where the run needs more memory than is free; None: it fits."""
    if expected.free is None or expected.bytes <= expected.free:
        return None
    return (
        f"training needs about {expected.bytes / 1e9:.1f} GB of memory and {expected.free / 1e9:.1f} GB are free; "
        "give a smaller `batch_size`, or `accumulate` 2 or more"
    )


def free_bytes(device: str) -> int | None:
    """Memory of a device that a process may still take; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


@contextmanager
def kept_bytes(besides: Iterable[Tensor]) -> Iterator[Callable[[], list[int]]]:
    """Bytes of each tensor that forward passes inside keep for their backward passes, without those of ``besides``.

    Saved tensors often share storage (a view, an activation that two operators need): each storage counts once.
    """
    ignored = {tensor.untyped_storage().data_ptr() for tensor in besides}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ignored:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: list(found.values())


def _bytes(rehearsal: Rehearsal, batch: StepInput) -> int:
    """Of all tensors at the height of a step: the backward pass of the largest subnet on its micro-batch."""
    net, config = rehearsal.net, rehearsal.config
    tensors = [*net.model.parameters(), *net.model.buffers()]
    weights = _size(tensors)
    largest = rehearsal.phase.of([Pass(net.space.largest)], rehearsal.steps - 1)  # quantized if the run ends so
    kept: list[list[int]] = []
    for images in _PROBES:
        piece = StepInput(batch.images[:images], batch.labels[:images])
        with kept_bytes([*tensors, piece.images]) as sizes:
            run_passes(net, largest, piece, rehearsal.task, rehearsal.loss, rehearsal.amp)
        kept.append(sizes())
    gradients = _size(p.grad for p in net.model.parameters() if p.grad is not None)
    update(net, rehearsal.optimizer, config.clip_value, config.clip_norm, rehearsal.amp)
    slots = _size(v for slot in rehearsal.optimizer.state.values() for v in slot.values() if isinstance(v, Tensor))
    # some do not grow with the images, such as weights cast to a smaller type
    share = (-(-config.batch_size // config.accumulate) - _PROBES[0]) / (_PROBES[1] - _PROBES[0])
    whole = [few + share * (more - few) for few, more in zip_longest(*kept, fillvalue=0)]
    activations = sum(whole) + 2 * max(whole)
    average = weights if config.ema else 0
    return round(weights + gradients + slots + average + _size([batch.images]) + activations)


def time_step(rehearsal: Rehearsal, batches: Iterator[StepInput], workers: int) -> float:
    """Seconds of a step when warm, averaged over steps spread evenly over the run: a strategy's phases differ."""
    computing: list[float] = []
    loading: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(computing) < _FEWEST or (len(computing) < MOST and time.perf_counter() < end):
        began = time.perf_counter()
        batch = next(batches)
        loading.append(time.perf_counter() - began)
        position = int(rehearsal.steps * spread(len(computing)))
        rehearsal.step(position, batch)  # builds skeletons that a run would have built before
        _wait(rehearsal.resources.device)
        began = time.perf_counter()
        rehearsal.step(position, batch)
        _wait(rehearsal.resources.device)
        computing.append(time.perf_counter() - began)
    step, load = sum(computing) / len(computing), sum(loading) / len(loading)
    return max(step, load / workers) if workers else step + load


def time_evaluation(rehearsal: Rehearsal, batch: StepInput) -> float:
    """Seconds to calibrate and measure the watched subnets once."""
    images = CALIBRATION_IMAGES + min(EVALUATED, rehearsal.dataset.info.counts["search"])
    net, total = rehearsal.net, 0.0
    with torch.no_grad():
        for architecture in pick_watched(net.space, rehearsal.config.seed).values():
            x = resize(batch.images, architecture.resolution)
            net(x, architecture)
            _wait(rehearsal.resources.device)
            began = time.perf_counter()
            net(x, architecture)
            _wait(rehearsal.resources.device)
            total += (time.perf_counter() - began) / len(x) * images
    return total


def spread(index: int) -> float:
    """The index-th of points that fill (0, 1) ever more densely: 1/2, 1/4, 3/4, 1/8, 5/8, ... (van der Corput)."""
    value, scale = 0.0, 0.5
    index += 1
    while index:
        value += scale * (index % 2)
        index //= 2
        scale /= 2
    return value


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
