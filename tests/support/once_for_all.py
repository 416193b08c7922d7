"""Weights in the layout that Once-for-All published, written out from its tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]
CLASSES = 7


@dataclass(frozen=True)
class Published:
    """A published supernet. ``stages``: channels, stride, largest depth, squeeze-and-excitation, activation."""

    stem: int
    first: int
    stages: tuple[tuple[int, int, int, bool, str], ...]
    last: int
    head: int
    eps: float
    act: str


def _mobilenetv3(stem: int, widths: tuple[int, ...], last: int, head: int) -> Published:
    rest = ((2, 4, False, "relu"), (2, 4, True, "relu"), (2, 4, False, "hard_swish"), (1, 4, True, "hard_swish"),
            (2, 4, True, "hard_swish"))  # fmt: skip
    stages = tuple((width, *more) for width, more in zip(widths, rest, strict=True))
    return Published(stem, stem, stages, last, head, 1e-5, "hard_swish")


PUBLISHED = {
    "ofa-mbv3-w1.0": _mobilenetv3(16, (24, 40, 80, 112, 160), 960, 1280),
    "ofa-mbv3-w1.2": _mobilenetv3(24, (32, 48, 96, 136, 192), 1152, 1536),
    "ofa-proxyless": Published(
        40, 24,
        ((32, 2, 4, False, "relu6"), (56, 2, 4, False, "relu6"), (104, 2, 4, False, "relu6"),
         (128, 1, 4, False, "relu6"), (248, 2, 4, False, "relu6"), (416, 1, 1, False, "relu6")),
        0, 1664, 1e-3, "relu6",
    ),
}  # fmt: skip


def divisible(value: float) -> int:
    """The nearest multiple of 8, at least 8, that is not below 90 % of the value."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * value else rounded + 8


def checkpoint(net: Published, seed: int = 0) -> State:
    """Random weights, statistics and kernel matrices in the older published layout, 64-bit."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def conv(name: str, *shape: int) -> None:
        state[name] = (uniform(*shape) - 0.5) * (20 / np.prod(shape[1:])) ** 0.5

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = uniform(width) + 0.5, uniform(width) - 0.5
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = uniform(width) - 0.5, uniform(width) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    conv("first_conv.conv.weight", net.stem, 3, 3, 3)
    norm("first_conv.bn", net.stem)
    fixed = "blocks.0.mobile_inverted_conv"
    conv(f"{fixed}.depth_conv.conv.weight", net.stem, 1, 3, 3)
    norm(f"{fixed}.depth_conv.bn", net.stem)
    conv(f"{fixed}.point_linear.conv.weight", net.first, net.stem, 1, 1)
    norm(f"{fixed}.point_linear.bn", net.first)
    index, before = 1, net.first
    for width, _, depth, se, _ in net.stages:
        for _ in range(depth):
            block, wide = f"blocks.{index}.mobile_inverted_conv", divisible(before * 6)
            conv(f"{block}.inverted_bottleneck.conv.conv.weight", wide, before, 1, 1)
            norm(f"{block}.inverted_bottleneck.bn.bn", wide)
            conv(f"{block}.depth_conv.conv.conv.weight", wide, 1, 7, 7)
            for name, side in (("7to5", 5), ("5to3", 3)):
                matrix = torch.eye(side * side, dtype=torch.float64) + 0.3 * (uniform(side * side, side * side) - 0.5)
                state[f"{block}.depth_conv.conv.{name}_matrix"] = matrix
            norm(f"{block}.depth_conv.bn.bn", wide)
            if se:
                narrow = divisible(wide // 4)
                for name, shape in (("reduce", (narrow, wide, 1, 1)), ("expand", (wide, narrow, 1, 1))):
                    conv(f"{block}.depth_conv.se.fc.{name}.weight", *shape)
                    state[f"{block}.depth_conv.se.fc.{name}.bias"] = uniform(shape[0]) - 0.5
            conv(f"{block}.point_linear.conv.conv.weight", width, wide, 1, 1)
            norm(f"{block}.point_linear.bn.bn", width)
            index, before = index + 1, width
    if net.last:
        conv("final_expand_layer.conv.weight", net.last, before, 1, 1)
        norm("final_expand_layer.bn", net.last)
        conv("feature_mix_layer.conv.weight", net.head, net.last, 1, 1)
    else:
        conv("feature_mix_layer.conv.weight", net.head, before, 1, 1)
        norm("feature_mix_layer.bn", net.head)
    conv("classifier.linear.weight", CLASSES, net.head)
    state["classifier.linear.bias"] = uniform(CLASSES) - 0.5
    return state
