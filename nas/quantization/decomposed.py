"""A quantized network with explicit quantize and dequantize operators: the one form every export starts from.

The operators are PyTorch's ``quantized_decomposed`` ones, which the ONNX exporter and ExecuTorch both understand. Every
consumer of a tensor gets its own dequantize operator: runtimes fuse patterns "dequantize, compute, quantize", and a
dequantize operator that is shared belongs to two of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx

from .dialect import Dialect
from .grids import QMAX, QMIN, WEIGHT_MAX
from .operators import aten, is_saturation, name_of, operator_of, source_of
from .quantize import QuantizedModel

_INT32 = torch.iinfo(torch.int32)


def decompose(quantized: QuantizedModel, dialect: Dialect) -> fx.GraphModule:
    """The network as a float module ``images [n, C, H, W] -> outputs`` around quantize/dequantize operators.

    ReLUs before a quantize operator are gone: it saturates exactly where they would. Layers that stay in float have
    float weights; integers of fewer than 8 bits are stored as int8.
    """
    import torch.ao.quantization.fx._decomposed

    operators = torch.ops.quantized_decomposed
    shift, dtype = (-QMIN, torch.uint8) if dialect.unsigned else (0, torch.int8)
    new = fx.Graph()
    tensors: dict[str, Tensor] = {}
    env: dict[fx.Node, fx.Node] = {}
    grids, source = quantized.activations, quantized.graph

    def attribute(name: str, value: Tensor) -> fx.Node:
        tensors[name] = value.detach()
        return new.get_attr(name)

    def constant(node: fx.Node, name: str, value: float) -> fx.Node:
        return attribute(f"{node.name}_{name}", torch.full((1,), value))

    def grid_of(name: str) -> tuple[Any, ...]:
        grid = grids[name]
        return grid.scale, grid.zero_point + shift, QMIN + shift, QMAX + shift, dtype

    def quantize(value: fx.Node, name: str) -> fx.Node:
        return new.call_function(operators.quantize_per_tensor.default, (value, *grid_of(name)))

    def real(node: fx.Node) -> fx.Node:
        if node.name not in grids:
            return env[node]
        return new.call_function(operators.dequantize_per_tensor.default, (env[node], *grid_of(node.name)))

    def whole(node: fx.Node) -> fx.Node:
        """``q - zero_point`` of a tensor on a grid, in floats. Its real values are off by rounding, hence the floor."""
        inverse = constant(node, "inverse", 1 / grids[node.name].scale)
        half = constant(node, "half", 0.5)
        steps = new.call_function(aten.mul.Tensor, (real(node), inverse))
        return new.call_function(aten.floor.default, (new.call_function(aten.add.Tensor, (steps, half)),))

    def whole_layer(node: fx.Node) -> fx.Node:
        layer, target = quantized.layers[node.name], cast(Any, node.target)
        weight = attribute(f"{node.name}_weight", layer.weight.float())
        bias = attribute(f"{node.name}_bias", layer.bias.float())
        total = new.call_function(target, (whole(source_of(node)), weight, bias, *node.args[3:]))
        steps = layer.weight_scale.double() * grids[source_of(node).name].scale
        scale = attribute(f"{node.name}_steps", steps.float().reshape(-1, *[1] * (layer.weight.ndim - 2)))
        return new.call_function(aten.mul.Tensor, (total, scale))

    def parameters(node: fx.Node) -> tuple[fx.Node, fx.Node]:
        layer = quantized.layers[node.name]
        bias_scale = layer.weight_scale * grids[source_of(node).name].scale
        zero = attribute(f"{node.name}_zero", torch.zeros(len(layer.bias), dtype=torch.int64))
        stored = (attribute(f"{node.name}_weight", layer.weight), attribute(f"{node.name}_scale", layer.weight_scale))
        per_channel = operators.dequantize_per_channel.default
        largest = WEIGHT_MAX[layer.bits]
        weight = new.call_function(per_channel, (*stored, zero, 0, -largest, largest, torch.int8))
        if dialect.float_biases:
            return weight, attribute(f"{node.name}_bias", (layer.bias.double() * bias_scale).float())
        bias = (attribute(f"{node.name}_bias", layer.bias), attribute(f"{node.name}_bias_scale", bias_scale))
        return weight, new.call_function(per_channel, (*bias, zero, 0, _INT32.min, _INT32.max, torch.int32))

    for node in source.graph.nodes:
        if node.op == "placeholder":
            images = new.placeholder("images")
            env[node] = quantize(images, node.name) if node.name in grids else images
        elif node.op == "get_attr":
            if not all(user.name in quantized.layers for user in node.users):
                env[node] = attribute(node.name, getattr(source, node.target))
        elif node.op == "output":
            new.output(real(source_of(node)))
        elif node.name in grids and is_saturation(node):
            env[node] = env[source_of(node)]
        else:
            if dialect.whole_sums and node.name in quantized.layers and node.name not in grids:
                result = whole_layer(node)
            elif node.name in quantized.layers:
                arguments: tuple[Any, ...] = (real(source_of(node)), *parameters(node), *node.args[3:])
                result = new.call_function(node.target, arguments)
            elif name_of(node) in dialect.spelled_out and (spell_out := operator_of(node).spell_out) is not None:
                result = spell_out(new.call_function, partial(constant, node), real(source_of(node)))
            else:
                result = new.call_function(node.target, fx.map_arg(node.args, real), fx.map_arg(node.kwargs, real))
            env[node] = quantize(result, node.name) if node.name in grids else result
    return fx.GraphModule(tensors, new)
