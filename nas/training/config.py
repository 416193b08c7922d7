"""The settings of a training run, each declared once: type, range and help. No framework is imported here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from nas.store.settings import LAYOUT, LAYOUTS, SEED, Setting
from search_spaces.errors import UsageError

from .strategies.table import AUTO, STRATEGIES, TEACHER_FIRST, adapting_steps

MOST_STEPS = 10**9
"""Of a run: published ones take a million."""
PHASE = 0.25
"""Share of the steps that are quantized where nothing is said."""
ADAPT = 0.33
"""Share of the steps of strategy teacher-first that train the whole network alone. A step of a subnet costs less, so
that the whole takes nearly half of the time."""


def _optimizers() -> Iterable[str]:
    from search_spaces.builders.timm_compat import timm

    names: list[str] = timm.optim.list_optimizers()
    return [AUTO, *names]


def _augmentations() -> Iterable[str]:
    from nas.data.augment import AUGMENTS

    return AUGMENTS


def _words(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


_SCHEDULES = ("cosine", "poly")
DISTILL = ("soft", "alpha")
_AMP = ("off", "bf16", "fp16")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the trained weights. Where ``help`` isn't enough, what reads a setting says more.

    Attributes:
        space: ``auto`` is settled before a run begins: :func:`nas.training.fitting.choose_space`.
        strategy: ``auto`` is settled before a run begins, too: :func:`nas.training.strategies.table.choose`.
        epochs, lr, weight_decay, teacher_weight: None: as :func:`count_epochs`, :func:`peak_lr`, :func:`decay_of` and
            :func:`weigh_teacher` have it.
        optimizer: ``auto`` is settled before a run begins: :func:`nas.training.builders.choose_optimizer`; where
            nobody did, it means :data:`NESTEROV`.
        lr: peak learning rate, reached after ``warmup``; the schedule ends at 1 % of it.
        adapt_share: as in :class:`nas.training.strategies.teacher_first.TeacherFirst`.
        clip_value: applied before ``clip_norm``. AlphaNet needs 1.
        teacher: as in :func:`nas.training.teacher.teacher.open_teacher`.
        dropout, drop_path: smaller subnets underfit already (BigNAS, arXiv:2003.11142).
        freeze_bn: batch norms normalise with their running statistics while training, and leave them as they are.
        augment: as in :func:`nas.data.batches.train_batches`; ``auto`` leaves small images as they are in short runs.
        mirror, crop, colour, rotate: as in :class:`nas.data.augment.Parts`.
        erasing: None: as ``augment`` has it.
        accumulate: as in :func:`nas.training.step.run_passes`.
        lr_auto: find ``lr`` with :func:`nas.training.rehearsal.lr_finder.find_lr`.
        quantization_aware: as in :func:`nas.training.quantized.trained_menu`; empty: none.
        quantization_noise: with it activations aren't quantized.
        pretrained, init: as in :func:`nas.supernet.first_weights.load_weights`.
    """

    space: Annotated[str, Setting("Search space; see: nas spaces. auto: one that suits the images.")] = AUTO
    source: Annotated[
        str,
        Setting("'embedded', a folder of images, a .tar of one, or a timm name: hfds/NAME, wds/FOLDER, torch/cifar10."),
    ] = "embedded"
    root: Annotated[str | None, Setting("Root folder of a timm data set.")] = None
    layout: Annotated[str, LAYOUT] = LAYOUTS[0]
    seed: Annotated[int, SEED] = 0
    strategy: Annotated[
        str, Setting(f"Which subnets a step trains: {_words(STRATEGIES)}.", choices=STRATEGIES.keys)
    ] = AUTO
    adapt_share: Annotated[
        float,
        Setting(
            "Share of the steps that train the whole network first (teacher-first); 1: nothing else.",
            above=0.0,
            at_most=1.0,
        ),
    ] = ADAPT
    epochs: Annotated[
        float | None,
        Setting(
            "Passes over the training split. Default: 24; from given weights, by the number of images.", at_least=0.001
        ),
    ] = None
    batch_size: Annotated[int, Setting("Images per step.", at_least=2, at_most=2**20)] = 64
    optimizer: Annotated[
        str, Setting("Name of a timm optimizer. auto: nesterov, or for transformers adamw.", choices=_optimizers)
    ] = AUTO
    lr: Annotated[float | None, Setting("Peak learning rate.", above=0.0)] = None
    schedule: Annotated[str, Setting(f"How the learning rate falls: {_words(_SCHEDULES)}.", choices=_SCHEDULES)] = (
        "cosine"
    )
    momentum: Annotated[float, Setting("Momentum of the optimizer.", at_least=0.0, at_most=1.0)] = 0.9
    weight_decay: Annotated[
        float | None,
        Setting(
            "Decay of the weights per step, as a multiple of the learning rate. Default: by the optimizer.",
            at_least=0.0,
        ),
    ] = None
    warmup: Annotated[
        float, Setting("Share of the steps in which the learning rate rises to its peak.", at_least=0.0, at_most=1.0)
    ] = 0.05
    label_smoothing: Annotated[
        float, Setting("Share of each label that is spread over all classes.", at_least=0.0, at_most=0.9)
    ] = 0.1
    clip_norm: Annotated[float, Setting("Gradient norm limit.", above=0.0)] = 5.0
    clip_value: Annotated[float, Setting("Limit of each gradient entry; 0: none.", at_least=0.0)] = 0.0
    distill: Annotated[
        str,
        Setting("What students learn from the largest subnet: soft, or alpha (with `clip_value` 1).", choices=DISTILL),
    ] = "soft"
    teacher: Annotated[str | None, Setting("Another teacher: exported folder, run directory or timm model.")] = None
    teacher_weight: Annotated[
        float | None,
        Setting(
            "Teacher's share of the loss. Default: 0.5; of the adapted whole (teacher-first) 0.9.",
            at_least=0.0,
            at_most=1.0,
        ),
    ] = None
    teacher_temperature: Annotated[float, Setting("Softmax temperature of the teacher.", at_least=0.01)] = 1.0
    dropout: Annotated[
        float, Setting("Dropout before the classifier, in the largest subnet only.", at_least=0.0, at_most=0.95)
    ] = 0.0
    drop_path: Annotated[
        float,
        Setting(
            "Stochastic depth up to this in the last block, in the largest subnet only.", at_least=0.0, at_most=0.95
        ),
    ] = 0.0
    freeze_bn: Annotated[bool, Setting("Keep the batch-norm statistics that `pretrained` or `init` brings.")] = False
    ema: Annotated[float, Setting("Decay of the weight average; 0: none.", at_least=0.0, at_most=0.99999)] = 0.0
    augment: Annotated[
        str, Setting("Random changes of the training images: auto, none, light or strong.", choices=_augmentations)
    ] = "auto"
    mirror: Annotated[bool, Setting("Part of `augment`: mirror half of the images, left to right.")] = True
    crop: Annotated[bool, Setting("Part of `augment`: cut out random parts; small images move.")] = True
    colour: Annotated[bool, Setting("Part of `augment`: change brightness, contrast and saturation.")] = True
    rotate: Annotated[bool, Setting("Part of `augment` strong: turn by up to 24 degrees, and shear.")] = True
    erasing: Annotated[
        float | None,
        Setting("Share of images with random erasing. Default: that of `augment`.", at_least=0.0, at_most=1.0),
    ] = None
    mixup: Annotated[float, Setting("Alpha of mixup; 0: none.", at_least=0.0)] = 0.0
    cutmix: Annotated[float, Setting("Alpha of CutMix; 0: none.", at_least=0.0)] = 0.0
    amp: Annotated[str, Setting(f"Mixed precision: {_words(_AMP)}.", choices=_AMP)] = "off"
    accumulate: Annotated[int, Setting("Micro-batches that each batch is split into, to save memory.", at_least=1)] = 1
    lr_auto: bool = False
    base_batch: Annotated[
        int, Setting("Batch size that `lr` is meant for: it is scaled to that of the run; 0: not scaled.", at_least=0)
    ] = 0
    zero_gamma: Annotated[bool, Setting("Residual blocks start as the identity.")] = False
    rollbacks: Annotated[
        int,
        Setting(
            "How often a collapsed run goes back to a good state, at half the rate; 0: collapses aren't watched for.",
            at_least=0,
        ),
    ] = 3
    quantization_aware: Annotated[str, Setting("Precisions to train for in the last part, for example int8,w4a8.")] = ""
    quantization_phase: Annotated[
        float, Setting("Share of the steps that `quantization_aware` lasts.", above=0.0, at_most=1.0)
    ] = PHASE
    quantization_noise: Annotated[
        float,
        Setting(
            "Round only this share of the weights, drawn at random in each step: cheaper; 0: all are rounded.",
            at_least=0.0,
            at_most=1.0,
        ),
    ] = 0.0
    pretrained: Annotated[bool, Setting("Start from timm's weights.")] = False
    init: Annotated[str | None, Setting("Start from the weights in a .safetensors or .pth file.")] = None

    @property
    def starts_from_weights(self) -> bool:
        """Whether the first weights are given, not random."""
        return self.pretrained or self.init is not None


NESTEROV, ADAMW = "nesterov", "adamw"


@dataclass(frozen=True)
class Rates:
    """What a kind of optimizer starts with where nothing is said; ``benchmarks/training/results.md`` has the trials.

    Attributes:
        scratch, given: peak learning rate from random and from given weights.
        decay: of the weights, as a multiple of the learning rate.
    """

    scratch: float
    given: float
    decay: float


SCRATCH_LR, GIVEN_LR = 0.1, 0.01
PLAIN, ADAPTIVE = Rates(SCRATCH_LR, GIVEN_LR, 3e-5), Rates(1e-3, 2e-5, 0.05)
"""Of SGD with momentum and its like; of optimizers that scale every weight's step by its gradients, as Adam does."""
SUBNETS_RATE, FILTERS = 6.0, 2.8
"""Peak rate of the subnets of strategy teacher-first, as a multiple of the whole network's: they have further to go,
and the teacher's answers keep the whole. It is the multiple for weights whose filters have a squared norm of
:data:`FILTERS`, as EfficientNet-Lite0's. ``benchmarks/training/results.md`` has 1 to 6."""
ADAPTIVE_RATE = 1.0
"""The same multiple for optimizers that scale the step of every weight by its gradients: 5 forgets what was given."""
TEACHER_WEIGHT, ADAPTED_WEIGHT = 0.5, 0.9
"""Share of a fixed teacher in the loss: of one that is given, and of the adapted whole, which knows these images."""
SCRATCH_EPOCHS = 24
GIVEN_IMAGES = 75_000
"""Images that a run from given weights shows in all, within :data:`GIVEN_EPOCHS`."""
GIVEN_EPOCHS = 12, 48
"""Fewest and most epochs from given weights: they need less, and few images are seen more often."""
FINETUNE_IMAGES, FINETUNE_EPOCHS = 15_000, (5, 20)
"""Images that the fine-tuning of one candidate shows in all, within its fewest and most epochs."""
FRONT_SHARES = 2
"""How many times as many a whole front sees, where nothing is said."""
FINETUNE_SHARE = 0.1
"""Peak learning rate of a fine-tuning, as a share of that of a supernet that began with random weights."""
NONE = "none"


def subnets_lr(peak: float, filters: float, optimizer: str = AUTO) -> float:
    """Peak learning rate of networks that are cut from given weights, from that of the whole network.

    What batch norm follows has no scale: a step turns a filter of norm n by about rate / n^2 (van Laarhoven,
    arXiv:1706.05350). So networks whose filters are shorter get a lower rate, but never one below the whole's. A step
    of Adam and its like has the same length for all gradients, so there the multiple is :data:`ADAPTIVE_RATE`.

    Args:
        filters: typical squared norm of a filter, as :func:`nas.training.weights.measure_filters` has it.
        optimizer: the training's.
    """
    if is_adaptive(optimizer):
        return peak * ADAPTIVE_RATE
    return peak * min(SUBNETS_RATE, max(1.0, SUBNETS_RATE * filters / FILTERS))


@dataclass(frozen=True)
class FinetuneConfig:
    """What decides the fine-tuned weights beside the candidate and its supernet; the rest is as the supernet's.

    Splits of the data set stay those of the run.

    Attributes:
        epochs, budget: None: as :func:`share_epochs` has it.
        netaug: as in :mod:`nas.training.strategies.fixed`.
        teacher: ``auto``: the one that the supernet was given; where it was given none, its largest network, or nothing
            after strategy teacher-first, whose subnets have learned from the adapted whole what there was to learn;
            ``none``; or as in :class:`TrainConfig`.
    """

    epochs: Annotated[
        float | None,
        Setting("Passes over the training split. Default: by the number of training images.", at_least=0.001),
    ] = None
    budget: Annotated[
        float | None,
        Setting("Passes over the training split that all members of a front share.", at_least=0.001),
    ] = None
    lr: Annotated[
        float | None,
        Setting("Peak learning rate. Default: by the supernet's and by what that began with.", above=0.0),
    ] = None
    teacher: Annotated[
        str,
        Setting("Network to learn from: auto (by what taught the supernet), none, folder, run or model."),
    ] = AUTO
    netaug: Annotated[bool, Setting("Train it inside wider networks of the space too.")] = False
    quantization_aware: Annotated[
        bool | None, Setting("Train with the rounding of its precision. Default: if the supernet was trained so.")
    ] = None
    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class Resources:
    """Resources of a run. They change the result by rounding only.

    Attributes:
        device: ``cpu``, ``cuda``, or one of several CUDA devices, such as ``cuda:1``.
        evaluations: how often in a run the smallest, a random and the largest subnet are evaluated.
        log: names in :data:`nas.training.loggers.LOGGERS` that the metrics also go to.
    """

    device: str = "cpu"
    workers: Annotated[int, Setting("Processes that load images.", at_least=0)] = 1
    save_seconds: Annotated[float, Setting("Time between checkpoints.", unit="seconds", at_least=0.0)] = 30.0
    evaluations: Annotated[int, Setting(at_least=0)] = 10
    log: tuple[str, ...] = ()


def is_adaptive(optimizer: str) -> bool:
    """Whether one of timm's optimizers scales the step of every weight by its own gradients."""
    from search_spaces.builders.timm_compat import timm

    return optimizer != AUTO and bool(timm.optim.get_optimizer_info(optimizer).has_betas)


def rates_of(config: TrainConfig) -> Rates:
    """The usual rates of the optimizer that is asked for."""
    return ADAPTIVE if is_adaptive(config.optimizer) else PLAIN


def peak_lr(config: TrainConfig) -> float:
    """The peak learning rate that is asked for, or the usual one of the optimizer for the run's first weights."""
    if config.lr is not None:
        return config.lr
    usual = rates_of(config)
    return usual.given if config.starts_from_weights else usual.scratch


def decay_of(config: TrainConfig) -> float:
    """The weight decay that is asked for, or the optimizer's usual one."""
    return rates_of(config).decay if config.weight_decay is None else config.weight_decay


def weigh_teacher(config: TrainConfig) -> float:
    """The share of a fixed teacher in the loss."""
    return TEACHER_WEIGHT if config.teacher_weight is None else config.teacher_weight


def for_subnets(config: TrainConfig, filters: float) -> TrainConfig:
    """The settings of the second part of strategy teacher-first, in which subnets learn from the adapted whole.
    ``filters``: as in :func:`subnets_lr`."""
    weight = config.teacher_weight
    if weight is None and config.teacher is None:
        weight = ADAPTED_WEIGHT
    return replace(config, lr=subnets_lr(peak_lr(config), filters, config.optimizer), teacher_weight=weight)


def shares_weights(config: TrainConfig, steps: int) -> bool:
    """Whether a run of so many steps trains subnets: strategy teacher-first may spend all of them on the whole."""
    return config.strategy != TEACHER_FIRST or adapting_steps(config.adapt_share, steps) < steps


def count_epochs(config: TrainConfig, images: int) -> float:
    """The epochs that are asked for, or those that suit the first weights and so many training images."""
    if config.epochs is not None:
        return config.epochs
    if not config.starts_from_weights:
        return SCRATCH_EPOCHS
    return _suit(GIVEN_IMAGES, GIVEN_EPOCHS, images)


def check_shares(config: FinetuneConfig, front: bool) -> None:
    """Raises UsageError: a budget is asked for beside epochs, or where there is no ``front`` to share it."""
    if config.budget is not None and not front:
        raise UsageError("`budget` is shared by the members of a front (`candidate` all); for one, give `epochs`")
    if config.budget is not None and config.epochs is not None:
        raise UsageError("`budget` is shared by all members and `epochs` is what each gets; give one of them")


def share_epochs(config: FinetuneConfig, images: int, members: int = 1) -> float:
    """The epochs that each of so many candidates gets: those that are asked for, or those that suit so many training
    images; never more than a candidate alone."""
    if config.epochs is not None:
        return config.epochs
    if config.budget is not None:
        return config.budget / members
    return _suit(FINETUNE_IMAGES, FINETUNE_EPOCHS, images) * min(1.0, FRONT_SHARES / members)


def _suit(shown: int, bounds: tuple[int, int], images: int) -> float:
    """Epochs, within bounds, in which so many training images are shown a number of times."""
    low, high = bounds
    return float(min(high, max(low, round(shown / max(1, images)))))


def total_steps(config: TrainConfig, images: int) -> int:
    """Optimizer steps of a whole run on so many training images; at least one. Raises UsageError: more than
    :data:`MOST_STEPS`."""
    epochs = count_epochs(config, images)
    steps = epochs * max(1, images // config.batch_size)
    if steps > MOST_STEPS:
        raise UsageError(
            f"`epochs` is {epochs:g}, which makes {steps:.3g} steps; at a millisecond each, {MOST_STEPS:.0e} "
            "take eleven days: give fewer"
        )
    return max(1, round(steps))
