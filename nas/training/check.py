"""Refusing settings that cannot train, before anything is read or written."""

from __future__ import annotations

from torch import nn

from nas.store.settings import check_settings
from nas.supernet.first_weights import check_start
from search_spaces import get_space
from search_spaces.errors import UsageError

from .builders import make_optimizer
from .config import PHASE, TrainConfig
from .quantized import check_quantizable, trained_menu


def check_config(config: TrainConfig) -> None:
    """Refuse settings outside their ranges, and settings that contradict each other.

    Raises:
        UsageError: names the settings and the rule.
        UserError: networks of the space cannot be quantized.
    """
    check_settings(config)
    space = get_space(config.space)
    check_start(space, config.pretrained, config.init)
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
    default = TrainConfig.teacher_weight, TrainConfig.teacher_temperature
    if config.teacher is None and (config.teacher_weight, config.teacher_temperature) != default:
        raise UsageError("`teacher_weight` and `teacher_temperature` say how to learn from a teacher; give `teacher`")
    if trained_menu(config.quantization_aware):
        check_quantizable(space)
    elif config.quantization_noise or config.quantization_phase != PHASE:
        raise UsageError(
            "`quantization_phase` and `quantization_noise` say how to train for quantization; "
            "give `quantization_aware` with the precisions, for example int8,w4a8"
        )
    try:
        make_optimizer(config, nn.Linear(1, 1))
    except Exception as error:  # timm builds some that need a package, a GPU, or other momentum
        text = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"`optimizer` {config.optimizer} cannot be used with these settings: {text}") from None
