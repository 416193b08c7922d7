"""A TFLite file from a flat graph: one walk over its nodes.

Operators compute on integers where the simulator does, and on real values between DEQUANTIZE and QUANTIZE elsewhere:
XNNPACK makes a table of an activation function between the two, so that all three together cost what one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from nas.quantization.grids import QLayer, QParams
from nas.quantization.operators import is_saturation, name_of, operator_of, source_of
from nas.quantization.simulator import kernel_of
from nas.runtimes.flat_graph import arguments_of
from nas.runtimes.runtime import ImageShape
from nas.tasks.task import INPUT, OUTPUT

from .builder import Builder
from .layers import write_layer
from .layout import CHANNELS_LAST, Value
from .operators import ROWS
from .writer import Unwritable, Writer


def write_graph(
    graph: fx.GraphModule, grids: Mapping[str, QParams], layers: Mapping[str, QLayer], image_shape: ImageShape,
    metadata: Mapping[str, bytes],
) -> bytes:  # fmt: skip
    """A network of one image ``[1, H, W, C]``, floats as its outputs are.

    Args:
        graph: as of :func:`nas.quantization.graph.capture`.
        grids: of results by node name; empty, as ``layers``: the network is of floats.
        metadata: of the file, by name.

    Raises:
        Unwritable: an operator has no row in the table.
        UserError: LiteRT is missing.
    """
    builder = Builder()
    to = Writer(graph, builder)
    channels, height, width = image_shape
    images = builder.tensor(INPUT, (1, height, width, channels), "FLOAT32")
    for node in graph.graph.nodes:
        to.name = node.name
        grid = grids.get(node.name)
        if node.op == "placeholder":
            real = Value(images, CHANNELS_LAST)
            to.keep(node, real if grid is None else to.quantized(real, grid))
        elif node.op == "call_function":
            to.keep(node, _write(to, node, grids, layers))
    result = to.natural(to.real(source_of(graph.graph.output_node())))
    if result.handle == images:
        raise Unwritable("a network without operators")
    return builder.finish(images, result.handle, (INPUT, OUTPUT), metadata)


def _write(to: Writer, node: fx.Node, grids: Mapping[str, QParams], layers: Mapping[str, QLayer]) -> Value:
    grid = grids.get(node.name)
    operator = operator_of(node)
    if operator.has_weights:
        layer = layers.get(node.name)
        result = write_layer(to, node, to.value(source_of(node)), layer, grid if layer is not None else None)
        return result if grid is None or result.handle.grid is not None else to.quantized(result, grid)
    if grid is not None and is_saturation(node):
        return to.value(source_of(node))
    if node.target not in ROWS:
        raise Unwritable(name_of(node) or str(node.target).split(".")[1])
    moves = operator.transparent and grid is not None
    whole = moves or (grid is not None and kernel_of(node, grids) is not None)

    def operand(each: fx.Node) -> Any:
        if each.op == "get_attr":
            return to.tensor(each)
        return to.value(each) if whole else to.real(each)

    arguments = [_mapped(each, operand) for each in arguments_of(node)]
    result = ROWS[node.target](to, grid if whole else None, *arguments)
    return result if whole or grid is None else to.quantized(result, grid)


def _mapped(argument: Any, operand: Any) -> Any:
    """An argument with nodes, alone or in a list, replaced."""
    if isinstance(argument, fx.Node):
        return operand(argument)
    if isinstance(argument, list | tuple):
        return [operand(each) if isinstance(each, fx.Node) else each for each in argument]
    return argument
