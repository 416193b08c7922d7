"""What each of PyTorch's operators is in ONNX: one table, read by :mod:`nas.runtimes.onnx_graph`.

Rows write what PyTorch's own exporter writes, attributes with their defaults spelt out. They hold up to the opset of
:data:`nas.runtimes.onnx_version.OPSET` and, unchanged, in the higher ones that packed weights need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from .flat_graph import pair_of

aten = torch.ops.aten
_END = np.iinfo(np.int64).max
_ROOT_OF_TWO = 1.4142135623730951
_ROOT_OF_TWO_OVER_PI = 0.7978845608028654

Value = fx.Node | NDArray[Any] | str | None
"""An input of an operator: a node's result, a constant, what :meth:`Writer.add` gave; None: left out."""
Ints = Sequence[int]


class Unwritable(Exception):
    """A graph holds what the table has no row for."""


class Writer(Protocol):
    """What rows write to."""

    def add(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        """Add an operator of ONNX, unless the same one is there already. Returns the name of its first result."""
        ...

    def shape(self, node: fx.Node) -> torch.Size:
        """Shape of a node's result; the first size is that of the batch where it depends on the images."""
        ...

    def tensor(self, node: fx.Node) -> Tensor | None:
        """The tensor that an attribute holds; None: the node computes."""
        ...


Row = Callable[..., str]
"""Writes a call of an operator: a writer and all arguments, in the order of the operator's schema. Returns the name of
the result. Raises Unwritable: ONNX has no such form."""


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _whole(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _operand(value: Value | float) -> Value:
    """A tensor, or a number as a constant."""
    return _number(value) if isinstance(value, int | float) else value


def _plain(kind: str, **attributes: Any) -> Row:
    """An operator of one tensor, that is one in ONNX too."""

    def write(to: Writer, x: fx.Node) -> str:
        return to.add(kind, x, **attributes)

    return write


def _binary(kind: str) -> Row:
    """An operator of two tensors, or of a tensor and a number."""

    def write(to: Writer, a: Value | float, b: Value | float, alpha: float = 1) -> str:
        scaled = _operand(b) if alpha == 1 else to.add("Mul", _operand(b), _number(alpha))
        return to.add(kind, _operand(a), scaled)

    return write


def _conv2d(
    to: Writer, x: fx.Node, weight: fx.Node, bias: fx.Node | None, stride: Ints, padding: Ints, dilation: Ints,
    groups: int,
) -> str:  # fmt: skip
    return to.add(
        "Conv", x, weight, bias, auto_pad="NOTSET", dilations=pair_of(dilation), group=groups,
        kernel_shape=list(to.shape(weight)[2:]), pads=pair_of(padding) * 2, strides=pair_of(stride),
    )  # fmt: skip


def _linear(to: Writer, x: fx.Node, weight: fx.Node, bias: fx.Node | None) -> str:
    if len(to.shape(x)) == 2:
        return to.add("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transA=0, transB=1)
    stored = to.tensor(weight)
    columns = to.add("Transpose", weight, perm=[1, 0]) if stored is None else stored.T.contiguous().numpy()
    product = to.add("MatMul", x, columns)
    return product if bias is None else to.add("Add", product, bias)


def _layer_norm(
    to: Writer, x: fx.Node, over: Ints, weight: fx.Node | None, bias: fx.Node | None, epsilon: float, _: bool
) -> str:
    gain = np.ones(tuple(over), np.float32) if weight is None else weight
    return to.add("LayerNormalization", x, gain, bias, axis=-len(over), epsilon=epsilon, stash_type=1)


def _mean(to: Writer, x: fx.Node, dims: Ints | None, keep: bool, dtype: Any) -> str:
    if not dims or dtype is not None:
        raise Unwritable
    return to.add("ReduceMean", x, _whole(dims), keepdims=int(keep), noop_with_empty_axes=0)


def _silu(to: Writer, x: fx.Node) -> str:
    return to.add("Mul", x, to.add("Sigmoid", x))


def _gelu(to: Writer, x: fx.Node, approximate: str) -> str:
    if approximate == "tanh":
        cubed = to.add("Mul", _number(0.044715), to.add("Pow", x, _number(3)))
        curve = to.add("Tanh", to.add("Mul", _number(_ROOT_OF_TWO_OVER_PI), to.add("Add", x, cubed)))
    else:
        curve = to.add("Erf", to.add("Div", x, _number(_ROOT_OF_TWO)))
    return to.add("Mul", x, to.add("Mul", _number(0.5), to.add("Add", curve, _number(1))))


def _clip(to: Writer, x: fx.Node, low: float | None = 0.0, high: float | None = 6.0) -> str:
    return to.add("Clip", x, *(None if bound is None else _number(bound) for bound in (low, high)))


def _softmax(to: Writer, x: fx.Node, dim: int, dtype: Any) -> str:
    if dtype is not None:
        raise Unwritable
    return to.add("Softmax", x, axis=dim)


def _max_pool2d(
    to: Writer, x: fx.Node, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> str:
    return to.add(
        "MaxPool", x, auto_pad="NOTSET", ceil_mode=int(ceil_mode), dilations=pair_of(dilation),
        kernel_shape=pair_of(kernel), pads=pair_of(padding) * 2, storage_order=0, strides=pair_of(stride or kernel),
    )  # fmt: skip


def _avg_pool2d(
    to: Writer, x: fx.Node, kernel: Ints, stride: Ints, padding: Ints, ceil_mode: bool, count_padding: bool,
    divisor: int | None,
) -> str:  # fmt: skip
    if divisor is not None:
        raise Unwritable
    return to.add(
        "AveragePool", x, auto_pad="NOTSET", ceil_mode=int(ceil_mode), count_include_pad=int(count_padding),
        kernel_shape=pair_of(kernel), pads=pair_of(padding) * 2, strides=pair_of(stride or kernel),
    )  # fmt: skip


def _pad(to: Writer, x: fx.Node, widths: Ints, mode: str, value: float | None) -> str:
    """PyTorch counts the dimensions from the last one, before and after; ONNX has all befores first."""
    if mode != "constant":
        raise Unwritable
    by_dim = [*widths, *[0] * (2 * len(to.shape(x)) - len(widths))]
    pads = by_dim[-2::-2] + by_dim[-1::-2]
    return to.add("Pad", x, _whole(pads), _number(value or 0.0), mode="constant")


def _reshape(to: Writer, x: fx.Node, shape: Ints) -> str:
    return to.add("Reshape", x, _whole(shape), allowzero=1)


def _flatten(to: Writer, x: fx.Node, start: int, end: int) -> str:
    shape = to.shape(x)
    first, last = start % len(shape), end % len(shape)
    if first == 0:
        raise Unwritable
    merged = shape[first : last + 1].numel()
    return _reshape(to, x, [-1, *shape[1:first], merged, *shape[last + 1 :]])


def _expand(to: Writer, x: fx.Node, shape: Ints, _: bool = False) -> str:
    return to.add("Expand", x, _whole([1 if size == -1 else size for size in shape]))


def _expand_as(to: Writer, x: fx.Node, other: fx.Node) -> str:
    return _expand(to, x, [-1, *to.shape(other)[1:]])


def _slice(to: Writer, x: fx.Node, dim: int, start: int | None, end: int | None, step: int) -> str:
    bounds = (start or 0, _END if end is None else end, dim, step)
    return to.add("Slice", x, *(_whole([bound]) for bound in bounds))


def _transpose(to: Writer, x: fx.Node, a: int, b: int) -> str:
    order = list(range(len(to.shape(x))))
    order[a], order[b] = order[b], order[a]
    return to.add("Transpose", x, perm=order)


def _permute(to: Writer, x: fx.Node, order: Ints) -> str:
    return to.add("Transpose", x, perm=[dim % len(order) for dim in order])


def _squeeze(to: Writer, x: fx.Node, dims: int | Ints) -> str:
    shape = to.shape(x)
    ones = [dim for dim in ([dims] if isinstance(dims, int) else dims) if shape[dim] == 1]
    return to.add("Squeeze", x, _whole(ones)) if ones else to.add("Identity", x)


def _unsqueeze(to: Writer, x: fx.Node, dim: int) -> str:
    return to.add("Unsqueeze", x, _whole([dim]))


def _cat(to: Writer, parts: Sequence[fx.Node], dim: int) -> str:
    return to.add("Concat", *parts, axis=dim)


def _grid(scale: float, zero_point: int, dtype: torch.dtype) -> tuple[Value, Value]:
    return _number(scale), np.array(zero_point, np.uint8 if dtype == torch.uint8 else np.int8)


def _quantize(to: Writer, x: fx.Node, scale: float, zero_point: int, _low: int, _high: int, dtype: torch.dtype) -> str:
    return to.add("QuantizeLinear", x, *_grid(scale, zero_point, dtype), axis=1)


def _dequantize(
    to: Writer, x: fx.Node, scale: float, zero_point: int, _low: int, _high: int, dtype: torch.dtype, _: Any
) -> str:
    return to.add("DequantizeLinear", x, *_grid(scale, zero_point, dtype), axis=1)


def _dequantize_channels(
    to: Writer, x: fx.Node, scales: fx.Node, zeros: fx.Node, axis: int, _low: int, _high: int, dtype: torch.dtype,
    _: Any,
) -> str:  # fmt: skip
    stored = to.tensor(zeros)
    if stored is None:
        raise Unwritable
    return to.add("DequantizeLinear", x, scales, stored.to(dtype).numpy(), axis=axis)


def rows() -> dict[Any, Row]:
    """Overload of an operator -> its row."""
    import torch.ao.quantization.fx._decomposed

    quantized = torch.ops.quantized_decomposed
    return {
        quantized.quantize_per_tensor.default: _quantize,
        quantized.dequantize_per_tensor.default: _dequantize,
        quantized.dequantize_per_channel.default: _dequantize_channels,
        aten.conv2d.default: _conv2d,
        aten.linear.default: _linear,
        aten.layer_norm.default: _layer_norm,
        aten.add.Tensor: _binary("Add"),
        aten.sub.Tensor: _binary("Sub"),
        aten.mul.Tensor: _binary("Mul"),
        aten.div.Tensor: _binary("Div"),
        aten.mean.dim: _mean,
        aten.relu.default: _plain("Relu"),
        aten.relu6.default: _clip,
        aten.hardtanh.default: _clip,
        aten.clamp.default: _clip,
        aten.hardswish.default: _plain("HardSwish"),
        aten.hardsigmoid.default: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
        aten.sigmoid.default: _plain("Sigmoid"),
        aten.tanh.default: _plain("Tanh"),
        aten.silu.default: _silu,
        aten.gelu.default: _gelu,
        aten.softmax.int: _softmax,
        aten.max_pool2d.default: _max_pool2d,
        aten.avg_pool2d.default: _avg_pool2d,
        aten.pad.default: _pad,
        aten.flatten.using_ints: _flatten,
        aten.view.default: _reshape,
        aten.reshape.default: _reshape,
        aten.expand.default: _expand,
        aten.expand_as.default: _expand_as,
        aten.slice.Tensor: _slice,
        aten.transpose.int: _transpose,
        aten.permute.default: _permute,
        aten.squeeze.dim: _squeeze,
        aten.squeeze.dims: _squeeze,
        aten.unsqueeze.default: _unsqueeze,
        aten.cat.default: _cat,
    }
