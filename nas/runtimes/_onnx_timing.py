"""Files that take as long to run as a network's own, written in a second and a hundred times smaller.

How long a network takes depends on its operators and their shapes, not on the values of its weights. So a profile
needs no trained weights and no calibration, and its files hold a constant in place of every large tensor, which the
runtime spreads out when it loads them. The operators are those of :mod:`nas.runtimes.onnx`; a test compares what
onnxruntime makes of both.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.errors import UserError, install_hint

if TYPE_CHECKING:
    from torch import nn

_HINT = install_hint(".[onnx]")
_OPSET = 20  # the highest of the tracing exporter, which takes a twentieth of the other's time
_SMALL = 16  # tensors of fewer elements stay as they are: shapes, paddings, bounds
_SCALE = 0.05
_LAYERS = ("Conv", "Gemm", "MatMul")
_MOVES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity")
_SATURATING = ("Relu", "Clip")
_ATTENTION = ("MatMul", "Softmax")


def float_file(model: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """The network as an ``onnx.ModelProto`` for one image ``images [1, C, H, W]`` in, float ``logits`` out.

    Args:
        model: in eval mode, on the CPU; its weights do not matter.

    Raises:
        UserError: a package is missing, or the exporter does not know an operator.
    """
    import torch

    try:
        import onnx
    except ImportError as error:
        raise UserError(f"exporting to ONNX needs the package '{error.name}'; {_HINT}") from None
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter announces its end; the other one takes minutes a profile
            path = Path(folder) / "network.onnx"
            torch.onnx.export(
                model, (torch.zeros(1, *image_shape),), path, dynamo=False, opset_version=_OPSET,
                input_names=["images"], output_names=["logits"],
            )  # fmt: skip
            return onnx.load(path)
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"cannot write this network as ONNX: {str(error).splitlines()[0]}") from None


def quantized(model: Any, uint8: bool) -> Any:
    """The int8 form of a :func:`float_file`: quantize/dequantize operators where :mod:`nas.quantization.quantize` puts
    them.

    Args:
        model: not modified.
        uint8: unsigned activations, as x86 wants them.

    Raises:
        UserError: there is attention, which int8 does not cover.
    """
    from onnx import helper

    writer = _Quantizer(model.graph, uint8)
    writer.run()
    graph = helper.make_graph(writer.nodes, "network", list(model.graph.input), list(model.graph.output))
    graph.initializer.extend(writer.initializers())
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


class _Quantizer:
    """One walk over the float graph, writing the quantized one.

    Attributes:
        values: constants of the float graph.
        constants: those of the new one.
        grid: names of the scale and the zero point of every activation: their values do not matter.
        integers: result -> its quantized form.
        last: result -> the new node that computes it.
    """

    def __init__(self, graph: Any, uint8: bool) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.nodes: list[Any] = []
        self.values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in self.values:  # of equal tensors the exporter keeps one
                self.values[node.output[0]] = self.values[node.input[0]]
            elif node.op_type == "Constant" and node.attribute[0].name == "value":
                self.values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        zero = np.uint8(128) if uint8 else np.int8(0)
        self.grid = ["grid_scale", "grid_zero"]
        self.constants: dict[str, Any] = {"grid_scale": np.float32(_SCALE), "grid_zero": zero}
        self.integers: dict[str, str] = {}
        self.last: dict[str, Any] = {}

    def run(self) -> None:
        self.quantize(self.graph.input[0].name)
        for node in self.graph.node:
            if node.output[0] not in self.values:
                self.convert(node)

    def initializers(self) -> list[Any]:
        """Those of the new graph."""
        from onnx import numpy_helper

        used = {name for node in self.nodes for name in node.input}
        kept = {name: value for name, value in self.values.items() if name in used}
        return [numpy_helper.from_array(np.asarray(v), name) for name, v in {**kept, **self.constants}.items()]

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return self.nodes[-1]

    def quantize(self, name: str) -> None:
        self.integers[name] = f"{name}_q"
        self.add("QuantizeLinear", [name, *self.grid], f"{name}_q")

    def real(self, name: str) -> str:
        """A dequantize operator of its own for every reader."""
        if name not in self.integers:
            return name
        out = f"{name}_r{len(self.nodes)}"
        self.add("DequantizeLinear", [self.integers[name], *self.grid], out)
        return out

    def parameter(self, name: str, reader: str, bits: type, scale: float) -> str:
        """Integers of the shape of a weight or bias, dequantized by channel."""
        value, new = self.values[name], f"{name}_of_{reader}"
        self.constants[new] = np.ones(value.shape, bits)
        self.constants[f"{new}_scale"] = np.full(len(value), scale, np.float32)
        self.constants[f"{new}_zero"] = np.zeros(len(value), bits)
        self.add("DequantizeLinear", [new, f"{new}_scale", f"{new}_zero"], f"{new}_r", axis=0)
        return f"{new}_r"

    def convert(self, node: Any) -> None:
        result = node.output[0]
        if node.op_type in _SATURATING and node.input[0] in self.last and node.input[0] not in self.integers:
            # quantizing saturates where it would: the layer's result is quantized once, here
            self.last[node.input[0]].output[0] = result
            self.quantize(result)
            return
        new = type(node)()
        new.CopyFrom(node)
        if node.op_type == "GlobalAveragePool":  # the other exporter writes a mean
            new.op_type = "ReduceMean"
            new.input.append("spatial_axes")
            self.constants["spatial_axes"] = np.array([2, 3])
        if node.op_type in _LAYERS and node.input[1] in self.values:
            new.input[0] = self.real(node.input[0])
            new.input[1] = self.parameter(node.input[1], result, np.int8, _SCALE)
            if len(node.input) > 2:
                new.input[2] = self.parameter(node.input[2], result, np.int32, _SCALE * _SCALE)
        elif node.op_type in _ATTENTION:
            raise UserError("int8 covers convolutional networks, and this one has attention; use --precision fp32")
        else:
            for i, name in enumerate(new.input):
                new.input[i] = self.real(name)
        self.nodes.append(new)
        self.last[result] = new
        if result != self.graph.output[0].name and not self._left_real(node):
            self.quantize(result)

    def _left_real(self, node: Any) -> bool:
        """Is the result of a node computed on before it is quantized?"""
        readers = self.readers.get(node.output[0], [])
        saturated = len(readers) == 1 and readers[0].op_type in _SATURATING and node.op_type not in _MOVES
        gate = node.op_type == "Sigmoid" and all(r.op_type == "Mul" and node.input[0] in r.input for r in readers)
        return saturated or gate  # a gate of its own input is one operator, SiLU


def shrunk(model: Any) -> bytes:
    """A file whose large tensors are constants of the same shape, which the runtime writes out when it loads it."""
    from onnx import helper, numpy_helper

    graph = model.graph
    nodes, kept = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim < 2 or value.size < _SMALL:
            kept.append(tensor)
            continue
        fan_in = max(1, math.prod(value.shape[1:]))
        fill = value.dtype.type(1 / fan_in) if value.dtype.kind == "f" else value.dtype.type(value.flat[0])
        shape = f"{tensor.name}_shape"
        kept.append(numpy_helper.from_array(np.array(value.shape, np.int64), shape))
        filler = numpy_helper.from_array(np.array([fill]), "value")
        nodes.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=filler))
    new = type(model)()
    new.CopyFrom(model)
    del new.graph.initializer[:]
    new.graph.initializer.extend(kept)
    body = [*nodes, *new.graph.node]
    del new.graph.node[:]
    new.graph.node.extend(body)
    data: bytes = new.SerializeToString()
    return data
