"""A quantized network with explicit quantize and dequantize operators: the one form every export starts from.

The operators are PyTorch's ``quantized_decomposed`` ones, which the ONNX exporter and ExecuTorch both understand. Every
consumer of a tensor gets its own dequantize operator: runtimes fuse patterns "dequantize, compute, quantize", and a
dequantize operator that is shared belongs to two of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from .quantize import QuantizedModel
from .quantize_graph import LAYERS, is_saturation, source_of
from .quantize_grids import QMAX, QMIN, WEIGHT_MAX

_INT32 = torch.iinfo(torch.int32)


def decompose(quantized: QuantizedModel, uint8: bool = False) -> fx.GraphModule:
    """The network as a float module ``images [n, C, H, W] -> logits`` around quantize/dequantize operators.

    ReLUs after a layer are gone: the quantize operator saturates exactly where they would.

    Args:
        quantized: the network.
        uint8: activations in 0..255 instead of -128..127 (the same values, zero points moved by 128).
    """
    import torch.ao.quantization.fx._decomposed

    operators = torch.ops.quantized_decomposed
    shift, dtype = (-QMIN, torch.uint8) if uint8 else (0, torch.int8)
    new = fx.Graph()
    tensors: dict[str, Tensor] = {}
    env: dict[fx.Node, fx.Node] = {}
    grids, source = quantized.activations, quantized.graph

    def attribute(name: str, value: Tensor) -> fx.Node:
        tensors[name] = value.detach()
        return new.get_attr(name)

    def grid_of(name: str) -> tuple[Any, ...]:
        grid = grids[name]
        return grid.scale, grid.zero_point + shift, QMIN + shift, QMAX + shift, dtype

    def quantize(value: fx.Node, name: str) -> fx.Node:
        return new.call_function(operators.quantize_per_tensor.default, (value, *grid_of(name)))

    def real(node: fx.Node) -> fx.Node:
        if node.name not in grids:
            return env[node]
        return new.call_function(operators.dequantize_per_tensor.default, (env[node], *grid_of(node.name)))

    def parameters(node: fx.Node) -> tuple[fx.Node, fx.Node]:
        layer = quantized.layers[node.name]
        bias_scale = layer.weight_scale * grids[source_of(node).name].scale
        zero = attribute(f"{node.name}_zero", torch.zeros(len(layer.bias), dtype=torch.int64))
        weight = (attribute(f"{node.name}_weight", layer.weight), attribute(f"{node.name}_scale", layer.weight_scale))
        bias = (attribute(f"{node.name}_bias", layer.bias), attribute(f"{node.name}_bias_scale", bias_scale))
        per_channel = operators.dequantize_per_channel.default
        return (
            new.call_function(per_channel, (*weight, zero, 0, -WEIGHT_MAX, WEIGHT_MAX, torch.int8)),
            new.call_function(per_channel, (*bias, zero, 0, _INT32.min, _INT32.max, torch.int32)),
        )

    for node in source.graph.nodes:
        if node.op == "placeholder":
            env[node] = quantize(new.placeholder("images"), node.name)
        elif node.op == "get_attr":
            if not all(user.target in LAYERS for user in node.users):
                env[node] = attribute(node.name, getattr(source, node.target))
        elif node.op == "output":
            new.output(real(source_of(node)))
        elif is_saturation(node):
            env[node] = env[source_of(node)]
        else:
            if node.target in LAYERS:
                arguments: tuple[Any, ...] = (real(source_of(node)), *parameters(node), *node.args[3:])
                result = new.call_function(node.target, arguments)
            else:
                result = new.call_function(node.target, fx.map_arg(node.args, real), fx.map_arg(node.kwargs, real))
            env[node] = quantize(result, node.name) if node.name in grids else result
    return fx.GraphModule(tensors, new)
