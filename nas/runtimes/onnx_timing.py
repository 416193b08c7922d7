"""ONNX files that take as long to run as a network's own, written in seconds and a hundred times smaller.

How long a network takes depends on its operators and their shapes, not on the values of its weights. So such a file
needs no trained weights and no calibration, and it holds a constant in place of every large tensor, which the runtime
writes out when it loads the file. The operators are those of :mod:`nas.runtimes.onnx`; a test compares what onnxruntime
makes of both.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.quantization.dialect import Dialect
from nas.tasks.task import INPUT, OUTPUT
from search_spaces.errors import UserError, first_line, install_hint

from .onnx_version import OPSET, lower_version
from .runtime import ImageShape

if TYPE_CHECKING:
    from .runtime import Network

_HINT = install_hint(".[onnx]")
_SMALL = 16  # tensors of fewer elements stay as they are: shapes, paddings, bounds


def traced(network: Network, image_shape: ImageShape, dialect: Dialect) -> Any:
    """The network with all its weights, an ``onnx.ModelProto`` for one image; arguments as of the runtime's ``write``.
    Raises UserError: a package is missing, or the exporter does not know an operator."""
    import torch

    from nas.quantization.decomposed import decompose
    from nas.quantization.quantize import QuantizedModel

    try:
        import onnx
    except ImportError as error:
        raise UserError(f"exporting to ONNX needs the package '{error.name}'; {_HINT}") from None
    module = decompose(network, dialect) if isinstance(network, QuantizedModel) else network
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # this exporter is deprecated; the new one takes minutes per profile
            _teach_integers()
            path = Path(folder) / "network.onnx"
            torch.onnx.export(
                module, (torch.zeros(1, *image_shape),), path, dynamo=False, opset_version=OPSET,
                input_names=[INPUT], output_names=[OUTPUT],
            )  # fmt: skip
            return onnx.load(path)
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"cannot write this network as ONNX: {first_line(error)}") from None


def _teach_integers() -> None:
    """Tell the tracing exporter what PyTorch's operators of quantized tensors are in ONNX."""
    import torch
    from torch.onnx import symbolic_helper
    from torch.onnx.utils import register_custom_op_symbolic

    def grid(g: Any, scale: float, zero_point: int, dtype: int) -> list[Any]:
        kind = torch.uint8 if dtype == 0 else torch.int8  # numbers of torch's scalar types
        values = (torch.tensor(scale), torch.tensor(zero_point, dtype=kind))
        return [g.op("Constant", value_t=value) for value in values]

    @symbolic_helper.parse_args("v", "f", "i", "i", "i", "i")
    def quantize(g: Any, x: Any, scale: float, zero_point: int, _low: int, _high: int, dtype: int) -> Any:
        return g.op("QuantizeLinear", x, *grid(g, scale, zero_point, dtype))

    @symbolic_helper.parse_args("v", "f", "i", "i", "i", "i", "none")
    def dequantize(g: Any, x: Any, scale: float, zero_point: int, _low: int, _high: int, dtype: int, _: None) -> Any:
        return g.op("DequantizeLinear", x, *grid(g, scale, zero_point, dtype))

    @symbolic_helper.parse_args("v", "v", "v", "i", "i", "i", "i", "none")
    def by_channel(
        g: Any, x: Any, scales: Any, _zeros: Any, axis: int, _low: int, _high: int, dtype: int, _: None
    ) -> Any:
        kind = torch.int32 if dtype == 3 else torch.int8
        zeros = g.op("Constant", value_t=torch.zeros(scales.type().sizes(), dtype=kind))
        return g.op("DequantizeLinear", x, scales, zeros, axis_i=axis)

    for name, symbol in (
        ("quantize_per_tensor", quantize), ("dequantize_per_tensor", dequantize), ("dequantize_per_channel", by_channel)
    ):  # fmt: skip
        register_custom_op_symbolic(f"quantized_decomposed::{name}", symbol, OPSET)


def shrink(model: Any) -> Any:
    """The model with constants of the same shape in place of large tensors."""
    from onnx import helper, numpy_helper

    nodes, kept = [], []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim < 2 or value.size < _SMALL:
            kept.append(tensor)
            continue
        fill = value.dtype.type(1 if value.dtype.kind == "i" else 1 / max(1, math.prod(value.shape[1:])))
        shape = f"{tensor.name}_shape"
        kept.append(numpy_helper.from_array(np.array(value.shape, np.int64), shape))
        filler = numpy_helper.from_array(np.array([fill]), "value")
        nodes.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=filler))
    small = type(model)()
    small.CopyFrom(model)
    del small.graph.initializer[:]
    small.graph.initializer.extend(kept)
    body = [*nodes, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(body)
    lower_version(small)
    return small
