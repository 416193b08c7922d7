"""Integer grids: how one tensor or one layer becomes integers; and learned ranges of weights (clips)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

QMIN, QMAX = -128, 127
WEIGHT_MAX = {8: 127, 4: 7, 2: 1}
"""Bits of a weight -> its largest integer; the smallest is the same, negative: XNNPACK and ONNX want no offset."""

STEPS = QMAX - QMIN
"""Of an int8 grid."""

_RATIOS = 20  # weight grids tried for a channel
_SMALLEST_RATIO = 0.04  # of them, to the largest weight: a ternary grid may want to end at a few per cent of it
_TIE = 1e-4  # of a step: some ulps of the largest integer
_WIDER, _WIDER_STEPS = 2.0**-12, 32
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
        bits: of a weight.
        weight: int8 in [-127, 127], [-7, 7] or [-1, 1], the layer's shape.
        weight_scale: float32 ``[out]``.
        bias: int32 ``[out]``, in units of ``input scale * weight_scale``.
    """

    bits: int
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
    scale = float(torch.tensor(spread / STEPS, dtype=torch.float32))
    return QParams(scale, max(QMIN, min(QMAX, round(QMIN - low / scale))))


def grid_values(grid: QParams) -> Tensor:
    """All 256 real values of a grid, in float64."""
    return (torch.arange(QMIN, QMAX + 1, dtype=torch.float64) - grid.zero_point) * grid.scale


def without_ties(grid: QParams, values: Tensor, table: Callable[[QParams], Tensor] | None = None) -> QParams:
    """The grid, its step widened by a few parts in ten thousand where one of ``values`` (float64) lies half-way between
    two integers.

    Runtimes compute an activation function of an int8 tensor each in its own way, in floats. A result that is half-way
    to the last digit is rounded up by one and down by another, for every element of that value, so none may be.

    Args:
        table: the integers that a runtime in fixed point makes of the values, on a grid; they are those of rounding
            then, too, where a step of some more that are tried has this.
    """
    values = values[values.isfinite()]  # a logarithm of what is not positive, which no network computes
    plain = None
    for step in range(_WIDER_STEPS if table is None else 2 * _WIDER_STEPS):
        scale = float(torch.tensor(grid.scale * (1 + step * _WIDER), dtype=torch.float32))
        units = values / scale
        if bool(((units - units.floor() - 0.5).abs() > _TIE).all()):
            wider = QParams(scale, grid.zero_point)
            rounded = (units.round() + grid.zero_point).clamp(QMIN, QMAX)
            if table is None or torch.equal(table(wider), rounded.long()):
                return wider
            plain = plain or wider
    return plain or grid


def quantize_layer(
    weight: Tensor, bias: Tensor, input_scale: float, bits: int = 8, clip: Tensor | None = None
) -> QLayer:
    """Integers of a layer: weights ``[out, ...]`` per channel, bias ``[out]`` on the accumulator's grid.

    Args:
        bits: of a weight, a key of :data:`WEIGHT_MAX`.
        clip: natural logarithm ``[out]`` of the ratio between the largest magnitude on a channel's grid and its largest
            weight; None: 0 at 8 bits, below that the ratio of least squared error.
    """
    largest = WEIGHT_MAX[bits]
    rows = weight.flatten(1)
    peak = rows.abs().amax(1).double()
    if clip is not None:
        peak = peak * clip.double().exp()
    elif bits < 8:
        peak = peak * least_error_ratio(rows, largest).double()
    # A channel of almost no weights must not push its bias out of int32.
    smallest = (bias.double().abs() / (input_scale * _LARGEST_BIAS)).clamp_min(1e-12)
    scale = torch.maximum(peak / largest, smallest).float()
    steps = scale.reshape(-1, *[1] * (weight.ndim - 1))
    integers = (weight / steps).round().clamp(-largest, largest).to(torch.int8)
    return QLayer(bits, integers, scale, (bias.double() / (scale.double() * input_scale)).round().to(torch.int32))


def least_error_ratio(rows: Tensor, largest: int) -> Tensor:
    """Share ``[out]`` of the largest magnitude of each of ``rows`` ``[out, weights]`` at which a symmetric grid, of
    integers up to ``largest``, has the least squared error.

    Every ratio of a list is tried; each also with the step that fits its own integers best, ``w.q / q.q``.
    """
    peak = rows.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny)
    unit = rows / peak[:, None]
    best, most = torch.ones_like(peak), torch.zeros_like(peak)
    for ratio in torch.linspace(1.0, _SMALLEST_RATIO, _RATIOS).tolist():
        integers = (unit * (largest / ratio)).round_().clamp_(-largest, largest)
        product, length = (unit * integers).sum(1), integers.square().sum(1).clamp_min(1.0)
        explained = product.square() / length  # of the row's squared length; the rest is the error
        best = torch.where(explained > most, product / length * largest, best)
        most = torch.maximum(explained, most)
    return best


def clip_name(path: str, precision: str) -> str:
    """Name of the clips of a layer: the logarithms of ratios between what a channel's grid covers and its largest
    weight, see ``fake.LearnedSteps``."""
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
