"""What each of PyTorch's operators is in TFLite, layers apart: one table, read by :mod:`nas.runtimes.tflite.graph`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from nas.quantization.grids import QMIN, QParams
from nas.quantization.operators import aten
from nas.runtimes.flat_graph import pair_of

from .layers import map_size, padded
from .layout import CHANNELS_LAST, Value, natural, permuted, with_last, without
from .padding import choose_padding
from .writer import Unwritable, Writer

Operand = Value | NDArray[Any] | float
Ints = Sequence[int]
Row = Callable[..., Value]
"""Writes a call of an operator: the writer, the grid of the result (None: it is real), and all arguments in the order
of the operator's schema, tensors as values or as numbers. Raises Unwritable: the format has no such form."""


def _unary(code: str, options: str = "", **fields: Any) -> Row:
    """An operator of one tensor, that is one here too."""

    def write(to: Writer, grid: QParams | None, x: Value) -> Value:
        return to.emit(code, [x.handle], x.handle.shape, x.order, grid, options, **fields)

    return write


def _binary(code: str, options: str) -> Row:
    """An operator of two tensors, or of a tensor and a number."""

    def write(to: Writer, grid: QParams | None, a: Operand, b: Operand, alpha: float = 1) -> Value:
        if alpha != 1:
            b = _scaled(to, b, alpha)
        tensors = [each for each in (a, b) if isinstance(each, Value)]
        whole = max(tensors, key=lambda each: (each.rank, each.handle.shape != (1,) * each.rank))
        inputs = [to.alike(a, whole), to.alike(b, whole)]
        shapes = [each.shape for each in inputs if len(each.shape) == whole.rank]
        shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
        return to.emit(code, inputs, shape, whole.order, grid, options)

    return write


def _scaled(to: Writer, x: Operand, factor: float) -> Operand:
    if not isinstance(x, Value):
        return x * factor
    return _MUL(to, None, to.dequantized(x), factor)


_ADD, _SUB = _binary("ADD", "AddOptions"), _binary("SUB", "SubOptions")
_MUL, _DIV = _binary("MUL", "MulOptions"), _binary("DIV", "DivOptions")
_LOGISTIC, _RELU, _RELU6 = _unary("LOGISTIC"), _unary("RELU"), _unary("RELU6")


def _mean(to: Writer, grid: QParams | None, x: Value, dims: Ints | None, keep: bool, dtype: Any = None) -> Value:
    if not dims or dtype is not None:
        raise Unwritable("mean")
    gone = {x.axis(dim) for dim in dims}
    shape = [1 if i in gone else size for i, size in enumerate(x.handle.shape) if keep or i not in gone]
    order = x.order if keep else without(x.order, dims)
    inputs = [x.handle, to.numbers(sorted(gone))]
    return to.emit("MEAN", inputs, shape, order, grid, "ReducerOptions", keepDims=keep)


def _hardsigmoid(to: Writer, grid: QParams | None, x: Value) -> Value:
    return _MUL(to, grid, _RELU6(to, None, _ADD(to, None, x, 3.0)), 1 / 6)


def _silu(to: Writer, grid: QParams | None, x: Value) -> Value:
    return _MUL(to, grid, x, _LOGISTIC(to, None, x))


def _gelu(to: Writer, grid: QParams | None, x: Value, approximate: str) -> Value:
    return _unary("GELU", "GeluOptions", approximate=approximate == "tanh")(to, grid, x)


def _elu(to: Writer, grid: QParams | None, x: Value, alpha: float, scale: float, inner: float) -> Value:
    if (alpha, scale, inner) != (1, 1, 1):
        raise Unwritable("elu")
    return _unary("ELU")(to, grid, x)


def _leaky_relu(to: Writer, grid: QParams | None, x: Value, slope: float) -> Value:
    return _unary("LEAKY_RELU", "LeakyReluOptions", alpha=slope)(to, grid, x)


def _clamp(to: Writer, grid: QParams | None, x: Value, low: float | None = None, high: float | None = None) -> Value:
    if low == 0 and high == 6:
        return _RELU6(to, grid, x)
    if low is not None:
        x = _RELU(to, grid, x) if low == 0 else _binary("MAXIMUM", "MaximumMinimumOptions")(to, grid, x, float(low))
    return x if high is None else _binary("MINIMUM", "MaximumMinimumOptions")(to, grid, x, float(high))


def _softmax(to: Writer, grid: QParams | None, x: Value, dim: int, dtype: Any) -> Value:
    if dtype is not None:
        raise Unwritable("softmax")
    last = to.arranged(x, with_last(x, [dim]))
    return _unary("SOFTMAX", "SoftmaxOptions", beta=1.0)(to, grid, last)


def _layer_norm(
    to: Writer, grid: QParams | None, x: Value, over: Ints, weight: Operand | None, bias: Operand | None,
    epsilon: float, _: bool,
) -> Value:  # fmt: skip
    dims = [*range(x.rank - len(over), x.rank)]
    centred = _SUB(to, None, x, _mean(to, None, x, dims, True))
    variance = _mean(to, None, _MUL(to, None, centred, centred), dims, True)
    result = _MUL(to, None, centred, _unary("RSQRT")(to, None, _ADD(to, None, variance, epsilon)))
    result = result if weight is None else _MUL(to, None, result, weight)
    return result if bias is None else _ADD(to, grid, result, bias)


def _max_pool2d(
    to: Writer, grid: QParams | None, x: Value, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool
) -> Value:
    """Zeros in front where nothing is below zero, as after a ReLU: XNNPACK has no other constant."""
    if pair_of(dilation) != [1, 1]:
        raise Unwritable("max_pool2d with a dilation")
    from_zero = grid is not None and grid.zero_point == QMIN
    return _pooled(to, grid, x, "MAX_POOL_2D", (kernel, stride, padding, ceil), lowest=not from_zero)


def _avg_pool2d(
    to: Writer, grid: QParams | None, x: Value, kernel: Ints, stride: Ints, padding: Ints, ceil: bool,
    count_padding: bool, divisor: int | None,
) -> Value:  # fmt: skip
    if divisor is not None or ceil or (not count_padding and any(pair_of(padding))):
        raise Unwritable("avg_pool2d with a divisor, or with sides that do not count")
    return _pooled(to, grid, x, "AVERAGE_POOL_2D", (kernel, stride, padding, ceil), same=False)


def _pooled(
    to: Writer, grid: QParams | None, x: Value, code: str, given: tuple[Ints, Ints, Ints, bool],
    lowest: bool = False, same: bool = True,
) -> Value:  # fmt: skip
    """``same``: what TFLite's own padding adds does not count, as in PyTorch."""
    x = to.arranged(x, CHANNELS_LAST)
    kernel, stride, around = pair_of(given[0]), pair_of(given[1] or given[0]), pair_of(given[2])
    padding = choose_padding(x.shape[2:], kernel, stride, around, (1, 1), given[3], same=same)
    x = padded(to, x, padding, lowest)
    sides = map_size(x.shape[2:], kernel, padding, stride)
    fields = {
        "padding": to.builder.named("Padding", padding.kind), "filterHeight": kernel[0], "filterWidth": kernel[1],
        "strideH": stride[0], "strideW": stride[1],
    }  # fmt: skip
    return to.emit(code, [x.handle], (1, *sides, x.shape[1]), CHANNELS_LAST, grid, "Pool2DOptions", **fields)


def _pad(to: Writer, grid: QParams | None, x: Value, widths: Ints, mode: str, value: float | None) -> Value:
    """PyTorch counts the dimensions from the last one, before and after."""
    if mode != "constant" or value not in (None, 0, -math.inf):
        raise Unwritable(f"pad with {mode} {value}")
    if min(widths) < 0:
        raise Unwritable("pad that cuts off")
    by_dim = {x.rank - 1 - i: tuple(widths[2 * i : 2 * i + 2]) for i in range(len(widths) // 2)}
    stored = [by_dim.get(dim, (0, 0)) for dim in x.order]
    shape = [size + sum(each) for size, each in zip(x.handle.shape, stored, strict=True)]
    inputs = [x.handle, to.numbers(stored)]
    if value != -math.inf or (grid is not None and grid.zero_point == QMIN):
        return to.emit("PAD", inputs, shape, x.order, grid, "PadOptions")
    return to.emit("PADV2", [*inputs, to.lowest(x)], shape, x.order, grid, "PadV2Options")


def _reshape(to: Writer, grid: QParams | None, x: Value, shape: Ints) -> Value:
    sizes = list(shape)
    if -1 in sizes:
        sizes[sizes.index(-1)] = math.prod(x.shape) // -math.prod(sizes)
    return to.reshaped(to.natural(x), sizes, natural(len(sizes)))


def _flatten(to: Writer, grid: QParams | None, x: Value, start: int, end: int) -> Value:
    first, last = start % x.rank, end % x.rank
    return _reshape(to, grid, x, [*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]])


def _permute(to: Writer, grid: QParams | None, x: Value, dims: Ints) -> Value:
    return Value(x.handle, permuted(x.order, dims))


def _transpose(to: Writer, grid: QParams | None, x: Value, a: int, b: int) -> Value:
    dims = list(natural(x.rank))
    dims[a], dims[b] = dims[b], dims[a]
    return _permute(to, grid, x, dims)


def _squeeze(to: Writer, grid: QParams | None, x: Value, dims: int | Ints) -> Value:
    ones = [dim for dim in ([dims] if isinstance(dims, int) else dims) if x.shape[dim] == 1]
    gone = {x.axis(dim) for dim in ones}
    shape = [size for i, size in enumerate(x.handle.shape) if i not in gone]
    return to.reshaped(x, shape, without(x.order, ones)) if ones else x


def _unsqueeze(to: Writer, grid: QParams | None, x: Value, dim: int) -> Value:
    new = dim % (x.rank + 1)
    order = (*(each + (each >= new) for each in x.order), new)
    return to.reshaped(x, (*x.handle.shape, 1), order)


def _slice(
    to: Writer, grid: QParams | None, x: Value, dim: int, start: int | None, end: int | None, step: int
) -> Value:
    axis, size = x.axis(dim), x.shape[dim]
    chosen = range(size)[slice(start, end, step)]
    begins, ends, steps = [0] * x.rank, list(x.handle.shape), [1] * x.rank
    begins[axis], ends[axis], steps[axis] = chosen.start, chosen.stop, step
    shape = list(x.handle.shape)
    shape[axis] = len(chosen)
    inputs = [x.handle, *(to.numbers(each) for each in (begins, ends, steps))]
    return to.emit("STRIDED_SLICE", inputs, shape, x.order, grid, "StridedSliceOptions")


def _cat(to: Writer, grid: QParams | None, parts: Sequence[Value], dim: int) -> Value:
    order = parts[0].order
    axis = parts[0].axis(dim)
    handles = [to.arranged(each, order).handle for each in parts]
    shape = list(handles[0].shape)
    shape[axis] = sum(each.shape[axis] for each in handles)
    return to.emit("CONCATENATION", handles, shape, order, grid, "ConcatenationOptions", axis=axis)


ROWS: dict[Any, Row] = {
    aten.add.Tensor: _ADD,
    aten.sub.Tensor: _SUB,
    aten.mul.Tensor: _MUL,
    aten.div.Tensor: _DIV,
    aten.mean.dim: _mean,
    aten.relu.default: _RELU,
    aten.relu6.default: _RELU6,
    aten.hardtanh.default: _clamp,
    aten.clamp.default: _clamp,
    aten.hardswish.default: _unary("HARD_SWISH"),
    aten.hardsigmoid.default: _hardsigmoid,
    aten.sigmoid.default: _LOGISTIC,
    aten.tanh.default: _unary("TANH"),
    aten.silu.default: _silu,
    aten.gelu.default: _gelu,
    aten.elu.default: _elu,
    aten.leaky_relu.default: _leaky_relu,
    aten.softmax.int: _softmax,
    aten.layer_norm.default: _layer_norm,
    aten.max_pool2d.default: _max_pool2d,
    aten.avg_pool2d.default: _avg_pool2d,
    aten.pad.default: _pad,
    aten.flatten.using_ints: _flatten,
    aten.view.default: _reshape,
    aten.reshape.default: _reshape,
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten.unsqueeze.default: _unsqueeze,
    aten.slice.Tensor: _slice,
    aten.cat.default: _cat,
}
"""Overload of an operator -> its row."""
