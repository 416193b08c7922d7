"""Operators that keep shapes, and those that work element by element on tensors of different shapes."""

from __future__ import annotations

from torch import Tensor

from search_spaces.tracing.dimensions.axes import Dim, fixed, leaves, size_of, unify
from search_spaces.tracing.labels import Call

from .rule import pieces, rule


@rule(
    "alias", "clone", "_to_copy", "lift_fresh", "detach", "contiguous", "native_dropout", "bernoulli", "view_as_real",
    "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "_softmax", "_safe_softmax",
    "_log_softmax", "softmax", "log_softmax", "fill", "zero", "normal", "uniform", "_local_scalar_dense",
)  # fmt: skip
def keep_shape(call: Call) -> None:
    source = call.tensors[0]
    for number, result in enumerate(call.results):
        if result is not source and result.shape == source.shape:
            call.put(call.labels.of(source), number)


@rule("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")
def accumulate(call: Call) -> None:
    """The first of a row's sums are those of its first things."""
    keep_shape(call)
    for leaf in leaves(call.of("self")[call["dim"]]):
        leaf.ordered = True


@rule("tril", "triu")
def triangle(call: Call) -> None:
    keep_shape(call)
    for dim in call.of("self")[-2:]:
        for leaf in leaves(dim):
            leaf.ordered = True


POINTWISE = frozenset({
    "hardswish", "hardsigmoid", "mish", "relu6", "silu", "gelu", "leaky_relu", "elu", "celu", "selu", "softplus",
    "softshrink", "hardshrink", "prelu", "_prelu_kernel", "threshold", "hardtanh", "log_sigmoid_forward",
    "masked_fill", "where", "addcmul", "addcdiv", "lerp", "mul", "add", "rsub", "sub", "div", "bitwise_and",
    "logical_and", "relu", "sigmoid", "tanh", "clamp", "clamp_min", "pow", "copy", "rrelu_with_noise", "complex",
})  # fmt: skip
"""Operators that torch doesn't tag as pointwise, or not in all of its versions."""


def pointwise(call: Call) -> None:
    broadcast(call, call.tensors)


def broadcast(call: Call, tensors: list[Tensor]) -> None:
    """Dimensions that stand below each other are the same, as far as none of them is 1."""
    if not call.results:
        return
    result = call.result
    dims: list[Dim] = []
    for d in range(1, result.dim() + 1):
        here = [call.labels.of(t)[-d] for t in tensors if t.dim() >= d and t.shape[-d] == result.shape[-d] != 1]
        for other in here[1:]:
            unify(here[0], other, call.reason(f"'{call.name}' of different things"))
        sound = here and size_of(here[0]) == result.shape[-d]
        dims.insert(0, here[0] if sound else fixed(result.shape[-d]))
    for number, each in enumerate(call.results):
        if each.dim() == len(dims) and not any(each is tensor for tensor in tensors):
            call.put(dims, number)


@rule("glu")
def glu(call: Call) -> None:
    """Half of a dimension times a function of the other half."""
    dims = call.of("self")
    d = call["dim"] % len(dims)
    half = call.result.shape[d]
    left, right = pieces(call, dims[d], [half, half], "halves of glu")
    unify(left, right, call.reason("halves of glu"))
    dims[d] = left
    call.put(dims)
