"""Activation functions in the fixed-point arithmetic of TFLite's own kernels, which microcontrollers and NPUs have too.

An int8 grid has 256 values, so a function on it is a table. The numbers are those of TensorFlow's
``lite/kernels/internal/reference/hard_swish.h`` and of gemmlowp's ``fixedpoint.h``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grids import QMAX, QMIN, QParams

_LOW16, _HIGH16 = -(1 << 15), (1 << 15) - 1
_FINER = 7  # bits that an input gains
_UNIT = 3 / 32768  # of the part of the function that lies between -3 and 3


def hard_swish_table(given: QParams, result: QParams) -> Tensor:
    """The 256 integers, int64, that TFLite's integer hard-swish makes of those of a grid."""
    finer = _float32(_float32(1 / (1 << _FINER)) * _float32(given.scale))
    output, output_shift = _multiplier(_float32(finer / _float32(result.scale)))
    gate, gate_shift = _multiplier(_float32(finer / _float32(_UNIT)))
    x = (torch.arange(QMIN, QMAX + 1) - given.zero_point) << _FINER
    value = _high_product(x, output)
    part = _saturated(x << (gate_shift - 1)) if gate_shift > 0 else x
    part = _high_product(part, gate)
    if gate_shift > 0:
        part = _saturated(part << 1)
    elif gate_shift < 0:
        part = _shifted(part, -gate_shift)
    part = (part + (1 << 15)) >> 1
    product = torch.div(part * value, 1 << 15, rounding_mode="trunc")
    return (_shifted(product, -output_shift) + result.zero_point).clamp(QMIN, QMAX)


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


def _multiplier(factor: float) -> tuple[int, int]:
    """A factor as an integer of 16 bits and an exponent."""
    fraction, exponent = math.frexp(factor)
    whole = round(fraction * (1 << 31))
    if whole == 1 << 31:
        whole, exponent = whole // 2, exponent + 1
    return min((whole + (1 << 15)) >> 16, _HIGH16), exponent


def _saturated(x: Tensor) -> Tensor:
    return x.clamp(_LOW16, _HIGH16)


def _high_product(x: Tensor, multiplier: int) -> Tensor:
    """The upper half of twice the product, rounded."""
    product = x * multiplier
    nudge = torch.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _saturated(torch.div(product + nudge, 1 << 15, rounding_mode="trunc"))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Division by a power of two, to the nearest; halves away from zero."""
    if bits <= 0:
        return x
    mask = (1 << bits) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0).long()).long()
