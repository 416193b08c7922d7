"""An ONNX model from a flat graph of aten and ``quantized_decomposed`` operators: a table and a loop.

It is the graph that PyTorch's exporter writes, in a fraction of the time: that one traces the network again, and
decomposes operators that the table of :mod:`nas.runtimes.onnx_operators` knows whole. Biases of zeros, which that one
removes, stay: files for timing hold untrained networks, and must take as long as trained ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from nas.quantization.operators import source_of
from nas.tasks.task import INPUT, OUTPUT

from .flat_graph import arguments_of, shapes_of
from .onnx_operators import Row, Unwritable, Value, rows
from .onnx_version import OPSET
from .runtime import ImageShape

_BATCH = 3


def write_graph(module: fx.GraphModule, image_shape: ImageShape, batch: int | None) -> Any:
    """A flat network as an ``onnx.ModelProto``.

    Args:
        module: one placeholder, attributes, calls of aten and ``quantized_decomposed`` operators, one output.
        batch: images of one inference; None: any number.

    Raises:
        Unwritable: an operator has no row in the table.
    """
    return _Graph(module, image_shape).model(image_shape, batch)


class _Graph:
    """One walk over a network; a :class:`nas.runtimes.onnx_operators.Writer`."""

    def __init__(self, module: fx.GraphModule, image_shape: ImageShape) -> None:
        self.module = module
        self.rows: dict[Any, Row] = rows()
        for node in module.graph.nodes:
            if node.op == "call_function" and node.target not in self.rows:
                raise Unwritable(str(node.target))
        self.shapes = shapes_of(module, image_shape, _BATCH)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Any] = []
        self.call, self.added = "", 0  # the call that is being written, and how many operators it has got so far
        self.known: dict[tuple[Any, ...], str] = {}
        self.constants: dict[tuple[Any, ...], str] = {}
        self.stored: dict[str, Any] = {}

    def shape(self, node: fx.Node) -> torch.Size:
        return self.shapes[node]

    def tensor(self, node: fx.Node) -> Tensor | None:
        if node.op != "get_attr":
            return None
        value: Tensor = getattr(self.module, str(node.target))
        return value.detach()

    def add(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        from onnx import helper

        names = [self.name(value) for value in inputs]
        while names and not names[-1]:
            names.pop()
        key = (kind, *names, repr(attributes))
        if key not in self.known:
            name = f"{self.call}.{self.added}" if self.added else self.call
            self.nodes.append(helper.make_node(kind, names, [name], f"node_{name}", **attributes))
            self.known[key] = name
            self.added += 1
        return self.known[key]

    def name(self, value: Value) -> str:
        """The name of an input; empty: it is left out."""
        if value is None or isinstance(value, str):
            return value or ""
        if not isinstance(value, fx.Node):
            key = (value.dtype.str, value.shape, value.tobytes())
            name = self.constants.setdefault(key, f"constant.{len(self.constants)}")
            return self.store(name, value)
        tensor = self.tensor(value)
        return self.names[value] if tensor is None else self.store(str(value.target), tensor.contiguous().numpy())

    def store(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        if name not in self.stored:
            self.stored[name] = numpy_helper.from_array(value, name)
        return name

    def model(self, image_shape: ImageShape, batch: int | None) -> Any:
        from onnx import TensorProto, helper

        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                self.names[node] = INPUT
            elif node.op == "call_function":
                self.call, self.added = node.name, 0
                self.names[node] = self.rows[node.target](self, *arguments_of(node))
        result = source_of(self.module.graph.output_node())
        if self.names.get(result, INPUT) == INPUT:
            raise Unwritable("a network without operators")
        self._rename(self.names[result], OUTPUT)
        first = "batch" if batch is None else batch
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [first, *shape])
            for name, shape in ((INPUT, image_shape), (OUTPUT, self.shapes[result][1:]))
        ]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], list(self.stored.values()))
        return helper.make_model(graph, producer_name="nas", opset_imports=[helper.make_opsetid("", OPSET)])

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new
