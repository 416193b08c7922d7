"""Norms: weights, biases and statistics belong to what is normalised."""

from __future__ import annotations

from torch import Tensor

from search_spaces.tracing.dimensions.axes import Dim, fixed, size_of, split, unify
from search_spaces.tracing.labels import Call

from .rule import UnknownError, rule


@rule(
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_with_update",
    "_native_batch_norm_legit_functional", "cudnn_batch_norm", "_batch_norm_no_update", "batch_norm",
)  # fmt: skip
def batch_norm(call: Call) -> None:
    dims = call.of("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call[name], Tensor):
            unify(call.of(name)[0], dims[1], call.reason("batch norm"))
    channels = size_of(dims[1])
    for number, result in enumerate(call.results):
        if result.shape == call["input"].shape:
            call.put(dims, number)
        else:
            call.put([dims[1] if size == channels else fixed(size) for size in result.shape], number)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call) -> None:
    dims = call.of("input")
    inner = len(call["normalized_shape"])
    _belong(call, dims[-inner:])
    call.put(dims)
    for number in range(1, len(call.results)):
        call.put([*dims[: len(dims) - inner], *(fixed(1) for _ in range(inner))], number)


def _belong(call: Call, dims: list[Dim]) -> None:
    for name in ("weight", "bias"):
        if isinstance(call[name], Tensor):
            for one, other in zip(call.of(name), dims, strict=True):
                unify(one, other, call.reason("norm"))


@rule("native_group_norm")
def group_norm(call: Call) -> None:
    """Groups stay; channels within them are exchangeable."""
    dims = call.of("input")
    halves = split(dims[1], size_of(dims[1]) // call["group"])
    if halves is None:
        raise UnknownError
    if call["group"] > 1:
        call.fix([halves[0]], "groups of a norm")
    _belong(call, [dims[1]])
    call.put(dims)
    call.put_rest()


@rule("_weight_norm_interface")
def weight_norm(call: Call) -> None:
    direction, length = call.of("v"), call.of("g")
    for d, size in enumerate(call["g"].shape):
        if size != 1:
            unify(length[d], direction[d], call.reason("weight norm"))
    call.put(direction)
    for number in range(1, len(call.results)):
        call.put(length, number)
