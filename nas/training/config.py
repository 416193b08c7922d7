"""What decides a training: its settings, what is refused of them, and what is made of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nas.data.dataset import SMALL_SIDE, DataInfo
from nas.data.mixing import check_mixing
from nas.data.transforms import AUGMENTS
from nas.supernet.first_weights import check_start
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from search_spaces import get_space
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, unknown_name
from search_spaces.policy import Policy

from .amp import AMP
from .guards import check_guards
from .quantized import PHASE, QuantizedPhase, check_quantization, learned, quantized_phase
from .step import check_accumulate
from .strategies import STRATEGIES

SCHEDULES = ("cosine", "poly")
_SHORT_RUN = 50  # epochs
MOST_STEPS = 10**9
"""Of a run: published ones take a million."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the trained weights.

    Attributes:
        space: name of the search space.
        source, root: data set, as in :func:`nas.data.opening.open_dataset`.
        seed: of everything random.
        strategy: name in :data:`nas.training.strategies.STRATEGIES`.
        epochs: passes over the training split.
        batch_size: images a step.
        optimizer: timm's name.
        lr: peak learning rate, reached after ``warmup`` (share of all steps).
        schedule: timm's name of the schedule after that, ``cosine`` or ``poly``; it ends at 1 % of ``lr``.
        momentum, weight_decay: none of the latter on norms and biases.
        label_smoothing: of the cross-entropy.
        clip_norm: gradient norm limit.
        clip_value: limit of each gradient entry, applied before; 0: none. AlphaNet needs 1.
        distill: what students learn from the teacher among a step's subnets, of :data:`nas.tasks.losses.DISTILL`.
        teacher: a fixed teacher, as in :func:`nas.training.teacher.teacher.open_teacher`.
        teacher_weight, teacher_temperature: as in :class:`nas.tasks.losses.Loss`.
        dropout, drop_path: of the largest subnet alone, as in :class:`nas.tasks.losses.Loss`.
        freeze_bn: batch norms keep their running statistics, and normalise with them: for good first weights.
        ema: decay of the weight average that becomes the supernet; 0: none.
        augment: as in :func:`nas.data.opening.train_batches`; ``auto`` leaves small images as they are in short runs.
        erasing: probability of random erasing; None: as ``augment`` has it.
        mixup, cutmix: as in :func:`nas.data.mixing.mix`; 0: none.
        amp: type that passes compute in: ``off`` (fp32), ``bf16`` or ``fp16``.
        accumulate: micro-batches of a pass, as in :func:`nas.training.step.run_passes`.
        lr_auto: find ``lr`` with :func:`nas.training.rehearsal.lr_finder.find_lr`.
        base_batch: batch size that ``lr`` was given for: it is scaled linearly to the run's; 0: it is the run's own.
        zero_gamma: residual blocks start as the identity, as in :func:`nas.training.guards.zero_gamma`.
        rollbacks: how often a collapsed run goes back, as in :class:`nas.training.guards.Guard`; 0: it is not watched.
        quantization_aware: precisions that the last part of the training is quantized in, as in
            :func:`nas.training.quantized.trained_menu`; empty: none.
        quantization_phase: that part's share of the steps.
        quantization_noise: share of the weights that are quantized there, activations not being; 0: everything is.
        pretrained, init: first weights: timm's own, or a file of them, as in
        :func:`nas.supernet.first_weights.load_weights`.
    """

    space: str = "mbv3-tiny"
    source: str = "embedded"
    root: str | None = None
    seed: int = 0
    strategy: str = "auto"
    epochs: float = 24
    batch_size: int = 64
    optimizer: str = "nesterov"
    lr: float = 0.1
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    warmup: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    clip_value: float = 0.0
    distill: str = "soft"
    teacher: str | None = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 1.0
    dropout: float = 0.0
    drop_path: float = 0.0
    freeze_bn: bool = False
    ema: float = 0.0
    augment: str = "auto"
    erasing: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    amp: str = "off"
    accumulate: int = 1
    lr_auto: bool = False
    base_batch: int = 0
    zero_gamma: bool = False
    rollbacks: int = 3
    quantization_aware: str = ""
    quantization_phase: float = PHASE
    quantization_noise: float = 0.0
    pretrained: bool = False
    init: str | None = None


@dataclass(frozen=True)
class Engine:
    """How to run, without influence on what is computed (but for rounding).

    Attributes:
        device: ``cpu`` or ``cuda``.
        workers: processes that decode and augment images.
        save_seconds: time between checkpoints.
        evaluations: how often in a run the smallest, a random and the largest subnet are evaluated.
        log: names in :data:`nas.training.loggers.LOGGERS` that the metrics go to besides.
    """

    device: str = "cpu"
    workers: int = 1
    save_seconds: float = 30.0
    evaluations: int = 10
    log: tuple[str, ...] = ()


def check_settings(config: TrainConfig) -> None:
    """Refuse settings that cannot train, before anything is read or written.

    Raises:
        UsageError: names the setting and the rule.
    """
    if config.strategy not in STRATEGIES:
        raise unknown_name("strategy", config.strategy, STRATEGIES)
    check_start(get_space(config.space), config.pretrained, config.init)
    for kind, name, known in (
        ("optimizer", config.optimizer, timm.optim.list_optimizers()),
        ("schedule", config.schedule, SCHEDULES),
        ("augmentation", config.augment, AUGMENTS),
        ("amp", config.amp, AMP),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    for name, value in asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name.replace('_', '-')} is {value}; it must be a finite number")
    check_mixing(config.mixup, config.cutmix, config.erasing, config.batch_size)
    check_accumulate(config.accumulate, config.batch_size)
    loss_of(config).check()
    if config.clip_value < 0:
        raise UsageError(f"clip-value is {config.clip_value}; it limits gradients, give more than 0, or 0 for none")
    if config.teacher is None and (config.teacher_weight, config.teacher_temperature) != (0.5, 1.0):
        raise UsageError("--teacher-weight and --teacher-temperature say how to learn from a teacher; give --teacher")
    check_guards(config.zero_gamma, config.pretrained or config.init is not None, config.rollbacks)
    check_quantization(
        get_space(config.space), config.quantization_aware, config.quantization_phase, config.quantization_noise
    )
    for name in ("epochs", "lr", "clip_norm"):
        if getattr(config, name) <= 0:
            raise UsageError(
                f"{name.replace('_', '-')} is {getattr(config, name)}; nothing would be trained, give more than 0"
            )
    if config.weight_decay < 0:
        raise UsageError(f"--weight-decay {config.weight_decay}: weights would grow without end; give 0 or more")
    try:
        _optimizer(nn.Linear(1, 1), config)
    except Exception as error:  # timm builds some that need a package, a GPU, or other momentum
        text = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"--optimizer {config.optimizer} cannot be used with these settings: {text}") from None


def supernet_of(config: TrainConfig, info: DataInfo) -> Supernet:
    """The supernet of a run, with the first weights of its seed."""
    steps = learned(config.quantization_aware, config.quantization_noise)
    net = Supernet(get_space(config.space), len(info.classes), info.in_chans, config.seed, steps)
    net.frozen_statistics = config.freeze_bn
    return net


def phase_of(config: TrainConfig, steps: int, policy: Policy | None = None) -> QuantizedPhase:
    """The quantized part of a run of so many steps; ``policy`` as in :class:`nas.training.curriculum.Curriculum`."""
    menu, share, noise = config.quantization_aware, config.quantization_phase, config.quantization_noise
    return quantized_phase(get_space(config.space), menu, share, noise, steps, config.seed, policy)


def optimizer_of(config: TrainConfig, net: Supernet) -> torch.optim.Optimizer:
    """timm's optimizer of all weights; norms and biases do not decay."""
    return _optimizer(net.model, config)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        model, opt=config.optimizer, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    return made


def loss_of(config: TrainConfig) -> Loss:
    """What the passes of a run learn from."""
    return Loss(
        config.label_smoothing, config.distill, config.teacher_weight, config.teacher_temperature,
        drop=(config.dropout, config.drop_path),
    )  # fmt: skip


def total_steps(config: TrainConfig, images: int) -> int:
    """Optimizer steps of a whole run; at least one. Raises UsageError: more than :data:`MOST_STEPS`."""
    steps = config.epochs * max(1, images // config.batch_size)
    if steps > MOST_STEPS:
        raise UsageError(
            f"--epochs {config.epochs:g} are {steps:.3g} steps; at a millisecond each, {MOST_STEPS:.0e} take eleven "
            "days: give fewer"
        )
    return max(1, round(steps))


def resolve_augment(config: TrainConfig, info: DataInfo) -> str:
    """What ``auto`` means: a short run on small images underfits, and shifts and flips only slow it down (they cost
    3 points in 14 epochs of the embedded data set)."""
    if config.augment == "auto" and info.native_size <= SMALL_SIDE and config.epochs < _SHORT_RUN:
        return "none"
    return config.augment


def schedule_of(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """timm's schedule by step: linear warm-up, then down to 1 % of the peak. It depends on the step alone."""
    warm = max(1, round(steps * config.warmup))
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer, config.schedule, num_epochs=steps, min_lr=0.01 * config.lr, warmup_epochs=warm,
        warmup_lr=config.lr / warm, step_on_epochs=False, updates_per_epoch=1, cooldown_epochs=0,
    )  # fmt: skip
    return scheduler
