"""Quantization-aware training: which steps are quantized, and with which policies.

The last part of a training runs every pass as it would run quantized (``nas.quantization.fake``). Half of the passes of
a supernet have one precision from the menu throughout, the others one for each stage, so that weights, and the steps of
their grids, suit every policy over the menu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from nas.quantization.fake import Fake
from nas.quantization.graph import capture
from nas.quantization.grids import WEIGHT_MAX, is_clip, least_error_ratio
from nas.store.seeds import stream
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError, UserError
from search_spaces.policy import FLOAT, WEIGHT_BITS, Policy, make_policy, parse_menu
from search_spaces.space import SearchSpace

from .config import TrainConfig
from .strategies.base import Pass

_UNIFORM = 0.5  # share of passes with one precision throughout


@dataclass(frozen=True)
class QuantizedPhase:
    """The quantized part of a run.

    Attributes:
        menu: precisions that policies are drawn from; empty: there is no such part.
        stages: paths that may differ in precision.
        begin: its first step.
        noise: as in :class:`nas.quantization.fake.Fake`.
        seed: of the run. The policies that are drawn for a step depend on it and on the step alone.
    """

    menu: tuple[str, ...]
    stages: tuple[str, ...]
    begin: int
    noise: float
    seed: int

    def of(self, passes: Sequence[Pass], step: int) -> tuple[Pass, ...]:
        """The passes of a step, each with a policy if the step is in this part: its own, or one that is drawn."""
        if not self.menu or step < self.begin:
            return tuple(passes)
        rng = stream(self.seed, "train.quantize", step)
        return tuple(replace(one, fake=Fake(one.policy or self.draw(rng), self.noise)) for one in passes)

    def draw(self, rng: np.random.Generator) -> Policy:
        """A policy over the menu."""
        if len(self.menu) == 1 or rng.random() < _UNIFORM:
            return make_policy(str(rng.choice(self.menu)))
        outer, *rest = (str(name) for name in rng.choice(self.menu, 1 + len(self.stages)))
        return make_policy(outer, zip(self.stages, rest, strict=True))


@torch.no_grad()
def start_clips(model: nn.Module, average: Mapping[str, Tensor]) -> None:
    """Clips below 8 bits, 0 until then, start where weights lose least; those that were learned before stay.

    The ``average`` of the weights starts there too, unless it is empty.
    """
    for name, clip in model.named_parameters():
        precision = name.rpartition("clip_")[2]
        if is_clip(name) and WEIGHT_BITS[precision] < 8 and not clip.any():
            weight = model.get_parameter(f"{name.rpartition('.')[0]}.weight")
            clip.copy_(least_error_ratio(weight.flatten(1), WEIGHT_MAX[WEIGHT_BITS[precision]]).log())
            if average:
                average[name].copy_(clip)


def learned_precisions(config: TrainConfig) -> tuple[str, ...]:
    """Precisions whose weight steps such a run learns: those below 8 bits, where it matters; with noise none.

    127 levels lose next to nothing when they cover all weights, and the paper's gradient of so small a step is so large
    that learned 8-bit steps strayed by factors from 0.25 to 1.9, which cost a point of accuracy.
    """
    menu = () if config.quantization_noise else trained_menu(config.quantization_aware)
    return tuple(name for name in menu if WEIGHT_BITS[name] < 8)


def trained_menu(text: str) -> tuple[str, ...]:
    """Precisions to train for; none of an empty text. Raises UsageError: unknown, given twice, or fp32 alone."""
    names = parse_menu(text, "`quantization_aware`") if text else ()
    if names == (FLOAT,):
        raise UsageError(
            f"`quantization_aware` is {text}, and nothing is quantized in fp32; give for example int8,w4a8"
        )
    return names


@lru_cache(maxsize=4)
def check_quantizable(space: SearchSpace, setting: str) -> None:
    """Refuse a ``setting`` that asks for quantized networks of a space whose largest, which has all that others have,
    cannot be quantized. Raises UserError."""
    largest = space.largest
    try:
        capture(space.build(largest, Interface(3, 2)).eval(), (3, largest.resolution, largest.resolution))
    except UserError as error:
        raise UserError(f"`{setting}`: space '{space.name}': {error}") from None
