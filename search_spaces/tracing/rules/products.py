"""Matrix products and convolutions: what is summed over is the same on both sides."""

from __future__ import annotations

from search_spaces.tracing.dimensions.axes import Dim, fixed, is_fixed, leaves, nest, resolve, size_of, split, unify
from search_spaces.tracing.labels import Call

from .rule import UnknownError, rule


@rule("mm")
def mm(call: Call) -> None:
    left, right = call.of("self"), call.of("mat2")
    unify(left[1], right[0], call.reason("product"))
    call.put([left[0], right[1]])
    call.count(left[0], left[1], right[1])


@rule("addmm")
def addmm(call: Call) -> None:
    left, right = call.of("mat1"), call.of("mat2")
    unify(left[1], right[0], call.reason("product"))
    call.put([left[0], right[1]])
    _add(call, [left[0], right[1]])
    call.count(left[0], left[1], right[1])


def _add(call: Call, dims: list[Dim]) -> None:
    """The tensor ``self`` is added to a product of these dimensions."""
    added = call["self"]
    for i in range(1, added.dim() + 1):
        if added.shape[-i] != 1:
            unify(call.of("self")[-i], dims[-i], call.reason("sum with a product"))


@rule("bmm")
def bmm(call: Call) -> None:
    _batched(call, call.of("self"), call.of("mat2"))


@rule("baddbmm")
def baddbmm(call: Call) -> None:
    left, right = call.of("batch1"), call.of("batch2")
    _batched(call, left, right)
    _add(call, [left[0], left[1], right[2]])


def _batched(call: Call, left: list[Dim], right: list[Dim]) -> None:
    unify(left[0], right[0], call.reason("product"))
    unify(left[2], right[1], call.reason("product"))
    call.put([left[0], left[1], right[2]])
    call.count(left[0], left[1], left[2], right[2])


@rule("mv")
def mv(call: Call) -> None:
    left, right = call.of("self"), call.of("vec")
    unify(left[1], right[0], call.reason("product"))
    call.put([left[0]])
    call.count(*left)


@rule("dot")
def dot(call: Call) -> None:
    left, right = call.of("self"), call.of("tensor")
    unify(left[0], right[0], call.reason("product"))
    call.put([])
    call.count(*left)


@rule("convolution", "_convolution", "convolution_overrideable")
def convolution(call: Call) -> None:
    """``x [n, groups x in, ...]`` and ``weight [groups x out, in, ...]``; a transposed weight is ``[groups x in, out,
    ...]``. A dimension that was shrunk and is convolved over has no exchangeable things."""
    dims, weight = call.of("input"), call.of("weight")
    c = len(dims) - len(weight) + 1
    call.labels.groups = None
    transposed, groups = call["transposed"], call["groups"]
    _join_sides(call, weight[2:])
    if groups == 1:
        unify(dims[c], weight[0 if transposed else 1], call.reason("convolution"))
        out = weight[1 if transposed else 0]
    else:
        out = _grouped(call, dims[c], weight, groups)
    if call["bias"] is not None:
        unify(call.of("bias")[0], out, call.reason("bias"))
    sides = [_side(call, dim, c + 1 + i, i) for i, dim in enumerate(dims[c + 1 :])]
    result = [*dims[:c], out, *sides]
    call.put(result)
    if transposed:
        call.count(*dims, weight[1], *weight[2:])
    else:
        call.count(*result, weight[1], *weight[2:])


def _grouped(call: Call, channels: Dim, weight: list[Dim], groups: int) -> Dim:
    """Output channels of a convolution by groups."""
    shape = call["weight"].shape
    inside = split(channels, size_of(channels) // groups)
    first = split(weight[0], shape[0] // groups)
    if inside is None or first is None:
        raise UnknownError
    unify(inside[0], first[0], call.reason("groups of a convolution"))
    call.labels.groups = inside[0]
    if call["transposed"]:
        unify(inside[1], first[1], call.reason("convolution"))
        if shape[1] == 1:
            return first[0]
        call.fix([first[0]], "groups of a transposed convolution")
        return nest([first[0], weight[1]])
    if size_of(inside[1]) > 1:
        unify(inside[1], weight[1], call.reason("convolution"))
    return resolve(weight[0])


def _join_sides(call: Call, sides: list[Dim]) -> None:
    """The sides of a filter are one axis where the filter may be smaller (see ``kernels``), else they stay."""
    for side in sides:
        if any(not leaf.kernel for leaf in leaves(side)):
            call.fix([side], "side of a filter")


def _side(call: Call, dim: Dim, d: int, i: int) -> Dim:
    """A dimension that a convolution runs over."""
    size = call.result.shape[d]
    if is_fixed(dim):
        return fixed(size)
    if call["stride"][i] == 1 and size == size_of(dim):
        for leaf in leaves(dim):
            leaf.ordered = True
        return dim
    call.fix([dim], "convolved over")
    return fixed(size)
