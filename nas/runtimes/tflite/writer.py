"""What rows of the tables write to: a file that grows, and the values that it holds for the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from nas.quantization.grids import QMIN, QParams

from .builder import Builder, Scales, Shape
from .layout import Order, Value, natural
from .versions import Handle, Kind


class Unwritable(Exception):
    """A network holds what the format, or the table of operators, has no form for."""


class Writer:
    """Values of a flat graph's nodes; operators are named after the node that is written."""

    def __init__(self, module: fx.GraphModule, builder: Builder) -> None:
        self.builder = builder
        self.name = ""
        self._module = module
        self._values: dict[fx.Node, Value] = {}
        self._real: dict[fx.Node, Value] = {}

    def keep(self, node: fx.Node, value: Value) -> None:
        """What a node's result is from now on."""
        self._values[node] = value

    def value(self, node: fx.Node) -> Value:
        """A node's result as it is stored: on a grid, or real."""
        return self._values[node]

    def real(self, node: fx.Node) -> Value:
        """A node's result as floats."""
        if node not in self._real:
            self._real[node] = self.dequantized(self._values[node])
        return self._real[node]

    def tensor(self, node: fx.Node) -> NDArray[Any]:
        """The numbers of an attribute."""
        return numpy_of(getattr(self._module, str(node.target)))

    def emit(
        self, code: str, inputs: Sequence[Handle], shape: Shape, order: Order, grid: QParams | None = None,
        options: str = "", **fields: Any,
    ) -> Value:  # fmt: skip
        """An operator with a new result of a shape as it is stored, on a grid or real."""
        kind: Kind = "FLOAT32" if grid is None else "INT8"
        output = self.builder.tensor(self.name, shape, kind, grid)
        return Value(self.builder.operator(code, inputs, output, options, **fields), order)

    def numbers(self, values: Sequence[Any] | NDArray[Any]) -> Handle:
        """Whole numbers that an operator takes: axes, sizes, widths."""
        return self.builder.constant("numbers", np.asarray(values), "INT32")

    def floats(self, values: Any, name: str = "floats") -> Handle:
        """Real constants."""
        return self.builder.constant(name, np.asarray(values), "FLOAT32")

    def lowest(self, x: Value) -> Handle:
        """The lowest number that a value may hold."""
        grid = x.handle.grid
        if grid is None:
            return self.floats([np.finfo(np.float32).min])
        return self.builder.constant("lowest", np.array([QMIN]), "INT8", Scales(grid.scale, zero=grid.zero_point))

    def dequantized(self, x: Value) -> Value:
        """A value as floats."""
        if x.handle.grid is None:
            return x
        return self.emit("DEQUANTIZE", [x.handle], x.handle.shape, x.order, None, "DequantizeOptions")

    def quantized(self, x: Value, grid: QParams) -> Value:
        """Real values on a grid."""
        return self.emit("QUANTIZE", [x.handle], x.handle.shape, x.order, grid, "QuantizeOptions")

    def counted(self, x: Value, grid: QParams) -> Value:
        """Real values that count steps of a grid, on that grid: rounded once, then said to be of its scale by a RESHAPE
        of LiteRT's own, which hands them on as they are."""
        steps = self.quantized(x, QParams(1.0, grid.zero_point))
        fields = {"newShape": np.array(x.handle.shape, np.int32)}
        inputs = [steps.handle, self.numbers(x.handle.shape)]
        return self.emit("RESHAPE", inputs, x.handle.shape, x.order, grid, "ReshapeOptions", **fields)

    def reshaped(self, x: Value, shape: Shape, order: Order) -> Value:
        """The same numbers in another shape, as it is stored."""
        if tuple(shape) == x.handle.shape:
            return Value(x.handle, order)
        fields = {"newShape": np.array(shape, np.int32)}
        inputs = [x.handle, self.numbers(shape)]
        return self.emit("RESHAPE", inputs, shape, order, x.handle.grid, "ReshapeOptions", **fields)

    def arranged(self, x: Value, order: Order) -> Value:
        """A value in another order of its dimensions."""
        if x.order == order:
            return x
        shape = [x.shape[dim] for dim in order]
        if x.lies_as(order):
            return self.reshaped(x, shape, order)
        inputs = [x.handle, self.numbers([x.axis(dim) for dim in order])]
        return self.emit("TRANSPOSE", inputs, shape, order, x.handle.grid, "TransposeOptions")

    def natural(self, x: Value) -> Value:
        """A value whose numbers follow each other as PyTorch's do."""
        return x if x.lies_as(natural(x.rank)) else self.arranged(x, natural(x.rank))

    def alike(self, operand: Value | NDArray[Any] | float, other: Value) -> Handle:
        """An operand of an operator of two, for the rank and the order of the other."""
        if isinstance(operand, int | float):
            return self.floats([operand])
        if not isinstance(operand, Value):
            spread = operand.reshape((1,) * (other.rank - operand.ndim) + operand.shape)
            return self.floats(spread.transpose(other.order))
        if operand.rank < other.rank:
            plain = self.natural(operand)
            shape = (1,) * (other.rank - operand.rank) + operand.shape
            operand = self.reshaped(plain, shape, natural(other.rank))
        return self.arranged(operand, other.order).handle


def numpy_of(tensor: Tensor) -> NDArray[Any]:
    """A tensor's numbers."""
    found: NDArray[Any] = tensor.detach().contiguous().numpy()
    return found
