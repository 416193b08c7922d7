"""Training steps on a throw-away copy of a run's first supernet: to see what a run will do before it begins.

Nothing of the run is touched, and the global random generators are put back. A fixed teacher is left out: its answers
belong to the run directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.data.transforms import own_randomness
from nas.store.seeds import stream
from nas.supernet.first_weights import zero_gamma
from nas.training.amp import Amp
from nas.training.builders import make_facts, make_loss, make_optimizer, make_parts, make_phase, resolve_augment
from nas.training.config import Resources, TrainConfig
from nas.training.step import StepInput, loss_without_gradient, mix_batch, run_passes, torch_seed, update
from nas.training.strategies.base import Strategy
from nas.training.strategies.table import get_strategy


class Rehearsal:
    """The parts of a training run, without its directory, schedule and average; ``strategy``: None: that of
    ``config``."""

    def __init__(
        self, config: TrainConfig, dataset: Dataset, resources: Resources, strategy: Strategy | None = None
    ) -> None:  # fmt: skip
        facts = make_facts(config, dataset.info)
        self.config, self.dataset, self.resources = config, dataset, resources
        self.steps = facts.steps
        self.net = facts.initial()
        if config.zero_gamma:
            zero_gamma(self.net.model)
        self.net.to(resources.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(config, self.net.model)
        self.task, self.loss, self.outputs = dataset.task, make_loss(config), dataset.interface.outputs
        self.amp = Amp(config.amp, resources.device)
        self.strategy = strategy or get_strategy(config.strategy, facts)
        self.phase = make_phase(config, self.steps)

    def batches(self, count: int) -> Iterator[StepInput]:
        """The first ``count`` batches of the run, loaded in this process."""
        config, info = self.config, self.dataset.info
        loaded = train_batches(
            self.dataset, config.batch_size, config.seed, 0, count, self.net.space.largest.resolution,
            resolve_augment(config, info), 0, False, config.erasing, parts=make_parts(config),
        )  # fmt: skip
        for step, (images, labels) in enumerate(loaded):
            batch = StepInput(images.to(self.resources.device), labels.to(self.resources.device))
            yield mix_batch(batch, self.task, self.outputs, config.mixup, config.cutmix, config.seed, step)

    def step(self, step: int, batch: StepInput) -> float:
        """One step as the run would do it at ``step``; returns its loss."""
        config = self.config
        torch.manual_seed(torch_seed(config.seed, step))
        self.optimizer.zero_grad(set_to_none=True)
        probe = partial(loss_without_gradient, self.net, batch, self.task, self.loss, amp=self.amp)
        passes = self.strategy.passes(step, stream(config.seed, "train.subnets", step), probe)
        passes = self.phase.of(passes, step)
        losses = run_passes(self.net, passes, batch, self.task, self.loss, self.amp, config.accumulate)
        update(self.net, self.optimizer, config.clip_value, config.clip_norm, self.amp)
        return sum(losses) / len(losses)


@contextmanager
def aside() -> Iterator[None]:
    """Put the global generators of random, numpy and torch (all devices) back afterwards."""
    with own_randomness(), torch.random.fork_rng():
        yield
