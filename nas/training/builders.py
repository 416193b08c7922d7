"""What is made of a run's settings: supernet, optimizer, schedule, loss, quantized phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.data.augment import Parts
from nas.data.dataset import SMALL_SIDE, interface_of
from nas.store.records import DataInfo
from nas.supernet.first_weights import start_from
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.policy import stages_of
from search_spaces.space import SearchSpace

from .config import (
    ADAMW,
    NESTEROV,
    TrainConfig,
    count_epochs,
    decay_of,
    peak_lr,
    total_steps,
    weigh_teacher,
)
from .quantized import QuantizedPhase, learned_precisions, trained_menu
from .strategies.base import NETWORK, RANDOM, RunFacts
from .strategies.table import AUTO

if TYPE_CHECKING:  # timm itself is imported by timm_compat alone
    from timm.scheduler.scheduler import Scheduler

_SHORT_RUN = 50  # epochs


def make_supernet(config: TrainConfig, info: DataInfo) -> Supernet:
    """The supernet of a run, with the random weights of its seed."""
    net = Supernet(get_space(config.space), interface_of(info), config.seed, learned_precisions(config))
    net.frozen_statistics = config.freeze_bn
    return net


def make_facts(config: TrainConfig, info: DataInfo) -> RunFacts:
    """What the strategy of a run may know."""

    def initial() -> Supernet:
        net = make_supernet(config, info)
        start_from(net, config.pretrained, config.init)
        return net

    space, steps = get_space(config.space), total_steps(config, info.train_images)
    return RunFacts(
        space, steps, interface_of(info), config.seed, initial, config.batch_size, config.adapt_share,
        NETWORK if config.starts_from_weights else RANDOM,
    )  # fmt: skip


def make_phase(config: TrainConfig, steps: int, earliest: int = 0) -> QuantizedPhase:
    """The quantized part of a run of so many steps, not before step ``earliest``."""
    menu = trained_menu(config.quantization_aware)
    begin = max(earliest, steps - round(steps * config.quantization_phase))
    stages = stages_of(get_space(config.space))
    return QuantizedPhase(menu, stages, begin, config.quantization_noise, config.seed)


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """timm's optimizer of all weights; norms and biases don't decay."""
    name = NESTEROV if config.optimizer == AUTO else config.optimizer
    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        model, opt=name, lr=peak_lr(config), momentum=config.momentum, weight_decay=decay_of(config)
    )
    return optimizer


def choose_optimizer(space: SearchSpace, interface: Interface) -> str:
    """The optimizer that suits the networks of a space: AdamW where nothing is normalised by batch, as in
    transformers, whose gradients differ by orders of magnitude between weights."""
    model = space.build(space.largest, interface, "meta")
    batch = any(isinstance(module, _BatchNorm) for module in model.modules())
    return NESTEROV if batch else ADAMW


def make_loss(config: TrainConfig) -> Loss:
    """What the passes of a run learn from."""
    return Loss(
        config.label_smoothing, config.distill, weigh_teacher(config), config.teacher_temperature,
        drop=(config.dropout, config.drop_path),
    )  # fmt: skip


def make_schedule(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> Scheduler:
    """timm's schedule by step: linear warm-up, then down to 1 % of the peak. It depends on the step alone."""
    warm, peak = max(1, round(steps * config.warmup)), peak_lr(config)
    scheduler: Scheduler
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer, config.schedule, num_epochs=steps, min_lr=0.01 * peak, warmup_epochs=warm,
        warmup_lr=peak / warm, step_on_epochs=False, updates_per_epoch=1, cooldown_epochs=0,
    )  # fmt: skip
    return scheduler


def make_parts(config: TrainConfig) -> Parts:
    """The parts of the augmentation that a run may do."""
    return Parts(config.mirror, config.crop, config.colour, config.rotate)


def resolve_augment(config: TrainConfig, info: DataInfo) -> str:
    """What ``auto`` means: a short run on small images underfits, and shifts and flips only slow it down (they cost
    3 points in 14 epochs of the embedded data set)."""
    short = count_epochs(config, info.train_images) < _SHORT_RUN
    if config.augment == "auto" and info.native_size <= SMALL_SIDE and short:
        return "none"
    return config.augment


def settled_augment(config: TrainConfig, info: DataInfo) -> str:
    """The same for a training that follows: ``auto`` would be settled anew by its epochs; it is ``light`` where it is
    not ``none``."""
    augment = resolve_augment(config, info)
    return "light" if augment == "auto" else augment
