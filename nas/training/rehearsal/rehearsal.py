"""Training steps on a throw-away copy of a run's first supernet: to see what a run will do before it begins.

Nothing of the run is touched, and the global random generators are put back. A fixed teacher is left out: its answers
belong to the run directory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.training.amp import Precision
from nas.training.config import Engine, TrainConfig, loss_of, optimizer_of, phase_of, resolve_augment
from nas.training.guards import zero_gamma
from nas.training.loop import generator, setting, torch_seed
from nas.training.step import StepInput, loss_without_gradient, mix_batch, run_passes, update
from nas.training.strategies import get_strategy


class Rehearsal:
    """The parts of a training run, without its directory, schedule and average.

    Args:
        config, dataset, engine: as in :func:`nas.training.loop.train`.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, engine: Engine) -> None:
        known = setting(config, dataset.info)
        self.config, self.dataset, self.engine = config, dataset, engine
        self.steps = known.steps
        self.net = known.initial()
        if config.zero_gamma:
            zero_gamma(self.net.model)
        self.net.to(engine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer_of(config, self.net)
        self.task, self.loss, self.outputs = dataset.task, loss_of(config), len(dataset.info.classes)
        self.precision = Precision(config.amp, engine.device)
        self.strategy = get_strategy(config.strategy, known)
        self.phase = phase_of(config, self.steps)

    def batches(self, count: int) -> Iterator[StepInput]:
        """The first ``count`` batches of the run, loaded in this process."""
        config, info = self.config, self.dataset.info
        loaded = train_batches(
            self.dataset, config.batch_size, config.seed, 0, count, self.net.space.largest.resolution,
            resolve_augment(config, info), 0, False, config.erasing,
        )  # fmt: skip
        for step, (images, labels) in enumerate(loaded):
            batch = StepInput(images.to(self.engine.device), labels.to(self.engine.device))
            yield mix_batch(batch, self.task, self.outputs, config.mixup, config.cutmix, config.seed, step)

    def step(self, step: int, batch: StepInput) -> float:
        """One step as the run would do it at ``step``; returns its loss."""
        config = self.config
        torch.manual_seed(torch_seed(config.seed, step))
        self.optimizer.zero_grad(set_to_none=True)
        probe = partial(loss_without_gradient, self.net, batch, self.task, self.loss, precision=self.precision)
        passes = self.strategy.passes(step, generator(config.seed, step), probe)
        passes = self.phase.of(passes, step)
        losses = run_passes(self.net, passes, batch, self.task, self.loss, self.precision, config.accumulate)
        update(self.net, self.optimizer, config.clip_value, config.clip_norm, self.precision)
        return sum(losses) / len(losses)


@contextmanager
def aside() -> Iterator[None]:
    """Put the global generators of random, numpy and torch (all devices) back afterwards."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
