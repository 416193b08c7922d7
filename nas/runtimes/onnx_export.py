"""A network as an ONNX model: written from its flat graph, or by PyTorch's exporter where that cannot be."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from nas.quantization.dialect import Dialect
from nas.tasks.task import INPUT, OUTPUT
from search_spaces.errors import UserError, first_line, install_hint

from .onnx_version import OPSET
from .runtime import ImageShape
from .silence import silence

if TYPE_CHECKING:
    from torch import nn

    from .runtime import Network

HINT = install_hint(".[onnx]")
_PACKAGES = ("onnx", "onnxscript")  # PyTorch's exporter needs the latter


def export_model(network: Network, image_shape: ImageShape, dialect: Dialect, batch: int | None = None) -> Any:
    """The network with all its weights, an ``onnx.ModelProto``; arguments as of the runtime's ``write``.

    PyTorch's exporter writes float networks that cannot be captured as a flat graph, those with attention among them,
    and networks with an operator that has no row in :mod:`nas.runtimes.onnx_operators`. It takes many times longer.

    Args:
        network: one that is a graph already is taken as what :func:`nas.quantization.graph.capture` returns.
        batch: images of one inference; None: any number.

    Raises:
        UserError: a package is missing, or the exporter does not know an operator.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"exporting to ONNX needs the package '{package}'; {HINT}")
    import torch

    from nas.quantization.decomposed import decompose
    from nas.quantization.graph import capture
    from nas.quantization.quantize import QuantizedModel

    from .onnx_graph import write_graph
    from .onnx_operators import Unwritable

    module: nn.Module
    with torch.no_grad():
        try:
            if isinstance(network, QuantizedModel):
                module = flat = decompose(network, dialect)
            else:
                module = network
                flat = network if isinstance(network, torch.fx.GraphModule) else capture(network, image_shape)
            return write_graph(flat, image_shape, batch)
        except (Unwritable, UserError):  # the latter: it cannot be captured
            pass
        return by_torch(module, image_shape, batch)


def by_torch(module: nn.Module, image_shape: ImageShape, batch: int | None) -> Any:
    """What PyTorch's exporter writes, without what only explains where nodes came from: it doubles a small file."""
    import torch

    from nas.quantization.graph import without_stack_traces

    example = torch.zeros(batch or 2, *image_shape)
    try:
        with silence(), without_stack_traces():
            sizes = ({0: torch.export.Dim("batch")},) if batch is None else None
            program = torch.export.export(module, (example,), dynamic_shapes=sizes, strict=False)
            exported = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
                input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},) if batch is None else None,
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"cannot write this network as ONNX: {first_line(error)}") from None
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    return model
