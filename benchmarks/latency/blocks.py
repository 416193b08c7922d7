"""Published latencies of single blocks, with the blocks as small modules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.support.data import data_file, read_table
from predictors.costs.network import op_features
from search_spaces.builders.timm_compat import NoInit
from search_spaces.genes import Floats
from search_spaces.operators.trace import trace_on


@dataclass(frozen=True)
class Blocks:
    """Measured blocks.

    Attributes:
        stages: of each block: what is left out together.
        features: ``[n, features]``.
        ms: ``[n]``.
        absolute: ``[n]``: false where features and latency are differences to another block.
    """

    stages: tuple[str, ...]
    features: Floats
    ms: Floats
    absolute: NDArray[np.bool_]


class _Shuffle(nn.Module):
    """Interleaves the channels of the groups: a copy."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class _Block(nn.Module):
    """Expand by 1 x 1, filter depthwise, project by 1 x 1, as MobileNetV2 does.

    Args:
        groups: of the 1 x 1 convolutions; the first one's are shuffled.
        residual: its input is added to its result.
    """

    def __init__(
        self, inside: int, middle: int, outside: int, kernel: int, stride: int, groups: int, residual: bool
    ) -> None:
        super().__init__()
        shuffle: list[nn.Module] = [_Shuffle(groups)] if groups > 1 else []
        self.layers = nn.Sequential(
            *(nn.Conv2d(inside, middle, 1, groups=groups), nn.ReLU(), *shuffle),
            *(nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle), nn.ReLU()),
            nn.Conv2d(middle, outside, 1, groups=groups),
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _row(block: nn.Module, channels: int, side: int) -> Floats:
    # The block's input isn't an image, so what reads it isn't a stem.
    lead = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Identity(), block)
    image = torch.empty(1, channels, side, side, device="meta")
    ops = trace_on(lead.eval(), image)
    return op_features(ops[1:], 0)


def fbnet_blocks(column: str) -> Blocks:
    """FBNet blocks (HW-NAS-Bench, fp32); a stage has equal output channels.

    Latencies are published less that of the skip in their place: nothing where it is an identity, a 1 x 1 convolution
    elsewhere, and features are differences too.

    Args:
        column: ``raspi4`` or ``pixel3``.
    """
    rows = [r for r in read_table(data_file("latency/fbnet_lut_hwnasbench_cifar.csv")) if r["op"] != "skip"]
    absolute = np.array([r["skip_is_identity"] == "1" for r in rows])
    features = []
    with NoInit(), torch.device("meta"):
        for r, whole in zip(rows, absolute, strict=True):
            inside, outside, stride, side = (int(r[key]) for key in ("Cin", "Cout", "stride", "H"))
            middle = inside * int(r["expansion"])
            block = _Block(inside, middle, outside, int(r["kernel"]), stride, int(r["groups"]), bool(whole))
            row = _row(block, inside, side)
            features.append(row if whole else row - _row(nn.Conv2d(inside, outside, 1, stride), inside, side))
    ms = np.array([float(r[f"{column}_ms_minus_skip"]) for r in rows])
    return Blocks(tuple(r["Cout"] for r in rows), np.stack(features), ms, absolute)
