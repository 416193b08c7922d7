"""Convolutions and linear layers: of int8, of packed weights, of floats, and the last one, whose result is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from nas.quantization.grids import QLayer, QParams
from nas.quantization.operators import aten
from nas.runtimes.flat_graph import pair_of

from .builder import Scales
from .layout import CHANNELS_LAST, Value, with_last
from .padding import Padding, choose_padding
from .versions import Handle, Kind
from .writer import Writer, numpy_of

MOST_TAPS = 25
"""Weights a channel of the largest depthwise convolution that XNNPACK has a fast kernel for. A 7 x 7 one takes 30 times
as long there as one of 5 x 5, and 2 to 4 times in LiteRT's own kernel."""
_PACKED: dict[int, Kind] = {4: "INT4", 2: "INT2"}


@dataclass(frozen=True)
class Parameters:
    """Constants of a layer in PyTorch's shapes, and the grid of its result; None: it is real.

    Attributes:
        steps: real value ``[out]`` of a whole weight; None: weights are real.
        bits: of a stored weight.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    steps: NDArray[np.float32] | None = None
    bits: int = 8
    grid: QParams | None = None


def write_layer(to: Writer, node: fx.Node, x: Value, layer: QLayer | None, grid: QParams | None) -> Value:
    """A convolution or linear layer: quantized, or of floats where there is no ``layer``.

    Integers whose sums stay real, those of a network's last layer, are summed as floats that hold whole numbers, which
    is exact in any order, so that every processor computes the same; their real value comes last. So are large
    depthwise kernels, see :data:`MOST_TAPS`: there LiteRT's own kernel of floats is faster than its one of integers.
    """
    if layer is None:
        weight, bias = (to.tensor(each) for each in node.args[1:3] if isinstance(each, fx.Node))
        return _any(to, node, to.dequantized(x), Parameters(weight, bias))
    weight, bias, steps = (numpy_of(each) for each in (layer.weight, layer.bias, layer.weight_scale))
    if grid is not None and not _is_large(node, layer):
        return _any(to, node, x, Parameters(weight, bias, steps, layer.bits, grid))
    assert x.handle.grid is not None
    scale = x.handle.grid.scale
    real = to.dequantized(x)
    inverse = to.floats([1 / scale])
    units = to.emit("MUL", [real.handle, inverse], real.handle.shape, real.order, None, "MulOptions")
    whole = to.emit("ROUND", [units.handle], units.handle.shape, units.order)
    total = _any(to, node, whole, Parameters(weight, bias, None, layer.bits))
    factor = steps * np.float32(scale)
    if grid is not None:
        factor = factor / np.float32(grid.scale)  # in the simulator's order: the result counts steps of the grid
    stepped = to.floats(factor, f"{node.name}_steps")
    result = to.emit("MUL", [total.handle, stepped], total.handle.shape, total.order, None, "MulOptions")
    return result if grid is None else to.counted(result, grid)


def _is_large(node: fx.Node, layer: QLayer) -> bool:
    """Whether a layer is a depthwise convolution that XNNPACK has no fast kernel for."""
    depthwise = layer.weight.ndim == 4 and layer.weight.shape[1] == 1 and node.args[6] != 1  # of several channels
    return bool(depthwise) and layer.weight[0].numel() > MOST_TAPS


def _any(to: Writer, node: fx.Node, x: Value, given: Parameters) -> Value:
    if node.target is aten.linear.default:
        return _linear(to, node, x, given)
    return _convolution(to, node, x, given)


def _linear(to: Writer, node: fx.Node, x: Value, given: Parameters) -> Value:
    """Integers of 8 bits as a 1x1 convolution, which has a scale for each channel in every runtime."""
    x = to.arranged(x, with_last(x, [-1]))
    count = len(given.bias)
    shape = (*x.handle.shape[:-1], count)
    if given.steps is None or given.bits in _PACKED:
        return _fully_connected(to, node, x, given)
    flat = x.handle.shape[:-1]
    wide = to.reshaped(x, (1, 1, int(np.prod(flat)), x.handle.shape[-1]), CHANNELS_LAST)
    y = _conv_2d(to, node, wide, given, given.weight[:, :, None, None], Padding("VALID"), (1, 1), (1, 1))
    return to.reshaped(y, shape, x.order)


def _fully_connected(to: Writer, node: fx.Node, x: Value, given: Parameters) -> Value:
    weight = given.weight.reshape(len(given.weight), -1)
    inputs = [x.handle, *_constants(to, node, x, given, weight, 0)]
    shape = (*x.handle.shape[:-1], len(weight))
    keep = {"keepNumDims": True} if x.rank > 2 else {}
    return to.emit("FULLY_CONNECTED", inputs, shape, x.order, given.grid, "FullyConnectedOptions", **keep)


def _convolution(to: Writer, node: fx.Node, x: Value, given: Parameters) -> Value:
    pairs: Any = node.args[3:6]
    stride, around, dilation = map(pair_of, pairs)
    groups = node.args[6]
    x = to.arranged(x, CHANNELS_LAST)
    kernel = given.weight.shape[2:]
    plain = set(kernel) == {1} and set(stride) == {1} and set(around) == {0} and groups == 1
    if plain and given.steps is not None and given.bits in _PACKED:
        return _fully_connected(to, node, x, given)
    padding = choose_padding(x.shape[2:], kernel, stride, around, dilation)
    x = padded(to, x, padding)
    channels = x.shape[1]
    if groups == channels and channels > 1:
        return _depthwise(to, node, x, given, padding, stride, dilation)
    return _conv_2d(to, node, x, given, given.weight, padding, stride, dilation)


def _conv_2d(
    to: Writer, node: fx.Node, x: Value, given: Parameters, weight: NDArray[Any], padding: Padding,
    stride: Sequence[int], dilation: Sequence[int],
) -> Value:  # fmt: skip
    inputs = [x.handle, *_constants(to, node, x, given, weight.transpose(0, 2, 3, 1), 0)]
    shape = _shape(x, weight, padding, stride, dilation)
    fields = _fields(to, padding, stride, dilation)
    return to.emit("CONV_2D", inputs, shape, CHANNELS_LAST, given.grid, "Conv2DOptions", **fields)


def _depthwise(
    to: Writer, node: fx.Node, x: Value, given: Parameters, padding: Padding, stride: Sequence[int],
    dilation: Sequence[int],
) -> Value:  # fmt: skip
    weight = given.weight[:, 0].transpose(1, 2, 0)[None]
    stored, bias = _constants(to, node, x, given, weight, 3)
    if weight.shape[1] * weight.shape[2] > MOST_TAPS:
        stored = to.builder.computed(stored, f"{node.name}_weight_computed")
    inputs = [x.handle, stored, bias]
    shape = _shape(x, given.weight, padding, stride, dilation)
    fields = _fields(to, padding, stride, dilation) | {"depthMultiplier": len(given.bias) // x.shape[1]}
    return to.emit("DEPTHWISE_CONV_2D", inputs, shape, CHANNELS_LAST, given.grid, "DepthwiseConv2DOptions", **fields)


def _constants(
    to: Writer, node: fx.Node, x: Value, given: Parameters, weight: NDArray[Any], axis: int
) -> tuple[Handle, Handle]:
    """Weights as they are stored, and biases; weights of fewer than 8 bits are packed where XNNPACK takes them so."""
    names = f"{node.name}_weight", f"{node.name}_bias"
    if given.steps is not None:
        assert x.handle.grid is not None
        kind: Kind = _PACKED.get(given.bits, "INT8") if weight.ndim == 2 else "INT8"
        stored = to.builder.constant(names[0], weight, kind, Scales(given.steps, axis))
        steps = given.steps * np.float32(x.handle.grid.scale)
        return stored, to.builder.constant(names[1], given.bias, "INT32", Scales(steps))
    bias = to.floats(given.bias, names[1])
    if given.weight.dtype == np.float32:
        return to.floats(weight, names[0]), bias
    stored = to.builder.constant(names[0], weight, "INT8", Scales(1.0))  # of 4 bits XNNPACK takes none as floats
    real = to.builder.tensor(f"{names[0]}_real", weight.shape, "FLOAT32")
    return to.builder.operator("DEQUANTIZE", [stored], real, "DequantizeOptions"), bias


def padded(to: Writer, x: Value, padding: Padding, lowest: bool = False) -> Value:
    """A map with the rows and columns that an operator in front of a kernel adds: zeros, or the lowest values."""
    if not padding.in_front:
        return x
    widths = [(0, 0), *zip(padding.before, padding.after, strict=True), (0, 0)]
    shape = [size + sum(each) for size, each in zip(x.handle.shape, widths, strict=True)]
    inputs = [x.handle, to.numbers(widths)]
    grid = x.handle.grid
    if not lowest:
        return to.emit("PAD", inputs, shape, x.order, grid, "PadOptions")
    return to.emit("PADV2", [*inputs, to.lowest(x)], shape, x.order, grid, "PadV2Options")


def _fields(to: Writer, padding: Padding, stride: Sequence[int], dilation: Sequence[int]) -> dict[str, int]:
    return {
        "padding": to.builder.named("Padding", padding.kind), "strideH": stride[0], "strideW": stride[1],
        "dilationHFactor": dilation[0], "dilationWFactor": dilation[1],
    }  # fmt: skip


def _shape(
    x: Value, weight: NDArray[Any], padding: Padding, stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Of the result as it is stored."""
    sides = map_size(x.shape[2:], weight.shape[2:], padding, stride, dilation)
    return (1, *sides, len(weight))


def map_size(
    size: Sequence[int],
    kernel: Sequence[int],
    padding: Padding,
    stride: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> list[int]:
    """Height and width of a kernel's result on a map that is padded in front already."""
    if padding.kind == "SAME":
        return [-(-length // step) for length, step in zip(size, stride, strict=True)]
    reach = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilation, strict=True)]
    return [(length - taps) // step + 1 for length, taps, step in zip(size, reach, stride, strict=True)]
