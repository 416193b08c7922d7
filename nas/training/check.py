"""Refusing settings that cannot train, before anything is read or written, and warning of those without effect."""

from __future__ import annotations

from dataclasses import asdict, replace

from torch import nn

from nas.data.augment import describe_augment
from nas.data.mirrored import mirrored_pairs
from nas.store.records import DataInfo
from nas.store.seeds import stream
from nas.store.settings import check_settings
from nas.supernet.first_weights import check_start
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError, first_line

from .builders import make_optimizer, make_parts, resolve_augment
from .config import PHASE, TEACHER_WEIGHT, TrainConfig
from .quantized import check_quantizable, trained_menu
from .strategies.base import Pass, RunFacts
from .strategies.table import AUTO, TEACHER_FIRST, chosen_earlier, get_strategy

_PROBES = 32


def check_config(config: TrainConfig) -> None:
    """Refuse settings outside their ranges, and settings that contradict each other. Raises UsageError: names the
    settings and the rule; UserError: networks of the space cannot be quantized."""
    check_settings(config)
    space = get_space(config.space)
    check_start(space, config.pretrained, config.init)
    if config.dropout or config.drop_path:  # raises where the networks have no such rate
        space.family.build(space.largest, Interface(3, 10), "meta", (config.dropout, config.drop_path))
    if config.zero_gamma and config.starts_from_weights:
        raise UsageError("`zero_gamma` is a start of random weights; leave it out with `pretrained` or `init`")
    if config.freeze_bn and not config.starts_from_weights:  # 0 and 1: nothing would be normalised
        raise UsageError("`freeze_bn` keeps statistics, and random weights have none; give `pretrained` or `init`")
    size = config.batch_size
    if config.accumulate > size // 2:
        raise UsageError(
            f"`accumulate` is {config.accumulate}; batch norm needs two images, so {size} of them are {size // 2} "
            "micro-batches at most; give 1 (the whole batch) or more"
        )
    if (config.mixup or config.cutmix) and size % 2:
        raise UsageError(f"`mixup` and `cutmix` pair the images of a batch, and {size} is odd; give an even one")
    if config.lr_auto and config.base_batch:
        raise UsageError("`lr` auto finds the rate for the run's own batch size; leave `base_batch` out")
    usual = (None, TEACHER_WEIGHT)  # runs of earlier versions store a weight without a teacher, too
    asked = config.teacher_weight not in usual or config.teacher_temperature != TrainConfig.teacher_temperature
    first = config.strategy == TEACHER_FIRST or (config.strategy == AUTO and config.starts_from_weights)
    taught = config.teacher is not None or first
    if asked and not taught:
        raise UsageError("`teacher_weight` and `teacher_temperature` say how to learn from a teacher; give `teacher`")
    if trained_menu(config.quantization_aware):
        check_quantizable(space, "quantization_aware")
    elif config.quantization_noise or config.quantization_phase != PHASE:
        raise UsageError(
            "`quantization_phase` and `quantization_noise` say how to train for quantization; "
            "give `quantization_aware` with the precisions, for example int8,w4a8"
        )
    try:
        make_optimizer(config, nn.Linear(1, 1))
    except Exception as error:  # timm builds some that need a package, a GPU, or other momentum
        text = first_line(error).rstrip(".")
        raise UsageError(f"`optimizer` {config.optimizer} cannot be used with these settings: {text}") from None


def sample_passes(name: str, facts: RunFacts) -> list[Pass]:
    """Passes of steps spread over a run by the strategy of that name; phases of a strategy differ."""
    strategy = get_strategy(name, facts)
    steps = sorted({facts.steps * i // _PROBES for i in range(_PROBES)})
    return [each for s in steps for each in strategy.passes(s, stream(0, "train.subnets", s), lambda _: 0.0)]


def ignored_settings(config: TrainConfig, facts: RunFacts) -> list[str]:
    """One line for each setting that has no effect, or next to none, with the run's strategy."""
    rates = {"`dropout`": config.dropout, "`drop_path`": config.drop_path}
    dropping = [name for name, rate in rates.items() if rate]
    name, lines = chosen_earlier(facts) if config.strategy == AUTO else config.strategy, []
    if config.adapt_share != TrainConfig.adapt_share and name != TEACHER_FIRST:
        lines.append(f"`adapt_share` has no effect: strategy {name} does not train the whole network first")
    if not dropping and config.distill == TrainConfig.distill:
        return lines
    passes = sample_passes(name, facts)
    if config.distill != TrainConfig.distill and all(each.role != "student" for each in passes):
        lines.append(f"`distill` {config.distill} has no effect: with strategy {name} no subnet learns from another")
    if dropping and all(each.architecture != facts.space.largest for each in passes):
        lines.append(
            f"{' and '.join(dropping)}: only the largest subnet is trained so, and strategy {name} hardly ever draws it"
        )
    return lines


def batch_warnings(config: TrainConfig, info: DataInfo) -> list[str]:
    """A line where a batch is larger than the training split, so that a pass over it is a single step."""
    images = info.train_images
    if images >= config.batch_size:
        return []
    return [
        f"`batch_size` is {config.batch_size}, and there are {images} training images: each step shows some of them "
        f"twice, and a pass is one step; a smaller batch, such as {max(2, images // 4)}, makes more steps of them"
    ]


def mirrors(config: TrainConfig, info: DataInfo) -> bool:
    """Whether a training mirrors images."""
    parts, augment = make_parts(config), resolve_augment(config, info)
    return describe_augment(augment, info, parts) != describe_augment(augment, info, replace(parts, mirror=False))


def augment_warnings(config: TrainConfig, info: DataInfo) -> list[str]:
    """A line for classes that mirroring would mix up, by their names, and for each switch without effect."""
    parts, augment = make_parts(config), resolve_augment(config, info)
    done = describe_augment(augment, info, parts)
    lines = [
        f"`no_{name}` has no effect: these images aren't augmented so anyway (`augment` {augment})"
        for name, on in asdict(parts).items()
        if not on and describe_augment(augment, info, replace(parts, **{name: True})) == done
    ]
    if mirrors(config, info) and (pairs := mirrored_pairs(info.classes)):
        (ours, theirs), more = pairs[0], len(pairs) - 1
        others = f", and {more} more pair{'s' if more > 1 else ''} of classes," if more else ""
        lines.append(
            f"'{ours}' and '{theirs}'{others} may be mirror images of each other, and training mirrors half of the "
            "images: then nobody can tell them apart; train without mirroring (`no_mirror`)"
        )
    return lines
