"""Learned ranges of weights as parameters of a network: their names, and adding them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def clip_name(path: str, precision: str) -> str:
    """Name of the clips of a layer: the logarithms of ratios between what a channel's grid covers and its largest
    weight, see ``nas.quantization.fake.LearnedSteps``."""
    return f"{path}.clip_{precision}"


def is_clip(name: str) -> bool:
    """Whether a tensor of a supernet holds clips."""
    return name.rpartition(".")[2].startswith("clip_")


def add_clips(model: nn.Module, precisions: Iterable[str]) -> None:
    """Give convolutions and linear layers clips ``[out]`` for some precisions, 0 at first: grids cover all weights."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            for precision in precisions:
                key = clip_name(path, precision).rpartition(".")[2]
                module.register_parameter(key, nn.Parameter(module.weight.new_zeros(len(module.weight))))
