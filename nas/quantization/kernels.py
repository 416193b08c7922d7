"""Integer arithmetic of quantized operators, on tensors that hold ``q - zero_point`` in float32.

Every function ends with the limits of the result's grid, beyond which it saturates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .grids import QParams

Call = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function, and its arguments after the tensors."""


def to_grid(x: Tensor, scale: float, low: float, high: float) -> Tensor:
    """Real values to the nearest integers."""
    return x.div(scale).round_().clamp_(low, high)


def to_grid_(x: Tensor, scale: float, low: float, high: float) -> Tensor:
    """As :func:`to_grid`, in place."""
    return x.div_(scale).round_().clamp_(low, high)


def layer(
    target: Any, x: Tensor, weight: Tensor, bias: Tensor, rest: tuple[Any, ...], factor: Tensor, low: float, high: float
) -> Tensor:
    """A convolution or linear layer whose result is on a grid."""
    accumulator: Tensor = target(x, weight, bias, *rest)
    return accumulator.mul_(factor).round_().clamp_(low, high)


def last_layer(target: Any, x: Tensor, weight: Tensor, bias: Tensor, rest: tuple[Any, ...], scale: Tensor) -> Tensor:
    """A convolution or linear layer whose result is real."""
    accumulator: Tensor = target(x, weight, bias, *rest)
    return accumulator.mul_(scale)


def sum_call(node: fx.Node, inputs: Sequence[QParams], grid: QParams) -> Call | None:
    """A plain sum of two tensors, as XNNPACK computes it."""
    if len(node.args) != 2 or node.kwargs:
        return None
    a, b = (each.scale / grid.scale for each in inputs)
    return _add, (*_fixed_point(a, b), *grid.limits)


def _add(a: Tensor, b: Tensor, multipliers: tuple[int, int], shift: int, low: float, high: float) -> Tensor:
    total = a.to(torch.int32).mul_(multipliers[0]).add_(b.to(torch.int32), alpha=multipliers[1])
    return total.add_(1 << (shift - 1)).bitwise_right_shift_(shift).clamp_(int(low), int(high)).float()


def _fixed_point(a: float, b: float) -> tuple[tuple[int, int], int]:
    """Two factors as integers, and the bits to shift the sum of products by afterwards.

    So XNNPACK adds tensors: the larger multiplier has 21 bits, and half an integer is rounded up. In floating point,
    one sum in ten thousand would be another integer.
    """
    a, b = torch.tensor([a, b], dtype=torch.float32).tolist()
    shift = 21 - math.frexp(max(a, b))[1]
    return (round(math.ldexp(a, shift)), round(math.ldexp(b, shift))), shift


def product_call(node: fx.Node, inputs: Sequence[QParams], grid: QParams) -> Call | None:
    """A plain product of two tensors."""
    if len(node.args) != 2 or node.kwargs:
        return None
    factor = torch.tensor(inputs[0].scale) * inputs[1].scale / grid.scale
    return _mul, (float(factor), *grid.limits)


def _mul(a: Tensor, b: Tensor, factor: float, low: float, high: float) -> Tensor:
    return a.mul(b).mul_(factor).round_().clamp_(low, high)


def mean_call(node: fx.Node, inputs: Sequence[QParams], grid: QParams) -> Call | None:
    """A mean over some dimensions."""
    if node.kwargs or not node.args[1]:
        return None
    keep = len(node.args) > 2 and node.args[2]
    return _mean, (node.args[1], keep, inputs[0].scale / grid.scale, *grid.limits)


def _mean(x: Tensor, dims: list[int], keep: bool, ratio: float, low: float, high: float) -> Tensor:
    total = x.sum(dims, keep)
    return total.mul_(ratio * total.numel() / x.numel()).round_().clamp_(low, high)
