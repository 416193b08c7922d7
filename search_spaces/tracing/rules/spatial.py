"""Pooling, resizing, padding and sampling: the last dimensions stay as they are, channels pass."""

from __future__ import annotations

import math

from search_spaces.tracing.dimensions.axes import Dim, fixed, is_fixed, join, nest, split
from search_spaces.tracing.labels import Call

from .rule import UnknownError, rule

_SIDES = {
    "avg_pool1d": 1, "avg_pool2d": 2, "avg_pool3d": 3, "max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3,
    "max_pool2d": 2, "max_pool1d": 1, "adaptive_avg_pool1d": 1, "_adaptive_avg_pool2d": 2, "_adaptive_avg_pool3d": 3,
    "adaptive_max_pool2d": 2, "adaptive_max_pool1d": 1, "mkldnn_max_pool2d": 2, "upsample_nearest1d": 1,
    "upsample_nearest2d": 2, "upsample_nearest3d": 3, "upsample_linear1d": 1, "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2, "upsample_trilinear3d": 3, "_upsample_bilinear2d_aa": 2, "_upsample_bicubic2d_aa": 2,
    "_upsample_nearest_exact1d": 1, "_upsample_nearest_exact2d": 2,
}  # fmt: skip
"""Operator -> how many dimensions it works over."""


@rule(*_SIDES)
def over_sides(call: Call) -> None:
    dims = call.labels.of(call.tensors[0])
    kept = len(dims) - _SIDES[call.name]
    call.fix(dims[kept:], f"'{call.name}' over it")
    for number, result in enumerate(call.results):
        call.put([*dims[:kept], *map(fixed, result.shape[kept:])], number)


@rule(
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d",
)  # fmt: skip
def pad(call: Call) -> None:
    """Zeros around channels (a shortcut of ResNets without weights) are a part of the result that stays."""
    dims: list[Dim] = call.of("self")
    amounts = call["pad"] if call["pad"] is not None else call["padding"]
    for i in range(len(amounts) // 2):
        before, after = amounts[2 * i], amounts[2 * i + 1]
        d = len(dims) - 1 - i
        if (before, after) == (0, 0):
            continue
        if call.name == "constant_pad_nd" and before >= 0 and after >= 0 and not is_fixed(dims[d]):
            dims[d] = join([*_zeros(before), dims[d], *_zeros(after)])
        else:
            call.fix([dims[d]], "padded")
            dims[d] = fixed(call.result.shape[d])
    call.put(dims)


def _zeros(count: int) -> list[Dim]:
    return [fixed(count)] if count else []


@rule("im2col")
def im2col(call: Call) -> None:
    dims = call.of("self")
    call.fix(dims[-2:], "windows over it")
    window = fixed(math.prod(call["kernel_size"]))
    call.put([*dims[:-3], nest([dims[-3], window]), fixed(call.result.shape[-1])])


@rule("col2im")
def col2im(call: Call) -> None:
    dims = call.of("self")
    halves = split(dims[-2], math.prod(call["kernel_size"]))
    if halves is None:
        raise UnknownError
    call.fix([halves[1], dims[-1]], "windows over it")
    call.put([*dims[:-2], halves[0], *map(fixed, call.result.shape[-2:])])


@rule("grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(call: Call) -> None:
    dims = call.of("input")
    call.fix([*dims[2:], *call.of("grid")], "sampled")
    call.put([*dims[:2], *map(fixed, call.result.shape[2:])])
