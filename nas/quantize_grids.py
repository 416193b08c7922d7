"""Integer grids: how one tensor or one layer becomes int8 (pure functions)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

QMIN, QMAX = -128, 127
WEIGHT_MAX = 127
_SMALLEST_SPREAD = 1e-6
_LARGEST_BIAS = 2.0**30


@dataclass(frozen=True)
class QParams:
    """Affine int8 grid of one tensor: ``real = scale * (q - zero_point)``, ``q`` in [-128, 127]."""

    scale: float
    zero_point: int

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest ``q - zero_point``."""
        return float(QMIN - self.zero_point), float(QMAX - self.zero_point)


@dataclass(frozen=True)
class QLayer:
    """Integer parameters of a convolution or linear layer.

    Attributes:
        weight: int8 in [-127, 127], the layer's shape.
        weight_scale: float32 ``[out]``.
        bias: int32 ``[out]``, in units of ``input scale * weight_scale``.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor


def choose_qparams(low: float, high: float) -> QParams:
    """The int8 grid that covers ``[low, high]`` and zero.

    Zero is on the grid exactly; the zero point is -128 where nothing is negative; the scale is positive and a float32
    even for a range without width.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    spread = high - low if high - low > _SMALLEST_SPREAD else 1.0
    scale = float(torch.tensor(spread / (QMAX - QMIN), dtype=torch.float32))
    return QParams(scale, max(QMIN, min(QMAX, round(QMIN - low / scale))))


def quantize_layer(weight: Tensor, bias: Tensor, input_scale: float) -> QLayer:
    """Integers of a layer: weights ``[out, ...]`` per channel, bias ``[out]`` on the accumulator's grid."""
    peak = weight.flatten(1).abs().amax(1).double()
    # A channel of almost no weights must not push its bias out of int32.
    smallest = (bias.double().abs() / (input_scale * _LARGEST_BIAS)).clamp_min(1e-12)
    scale = torch.maximum(peak / WEIGHT_MAX, smallest).float()
    rows = scale.reshape(-1, *[1] * (weight.ndim - 1))
    integers = (weight / rows).round().clamp(-WEIGHT_MAX, WEIGHT_MAX).to(torch.int8)
    return QLayer(integers, scale, (bias.double() / (scale.double() * input_scale)).round().to(torch.int32))
