"""The simulator: an integer runtime's results at the speed of a float network.

Tensors hold ``q - zero_point`` in float32. Sums of products of such integers are exact below 2^24, which the
accumulators of real networks rarely pass, so that results equal those of integer kernels. The simulator is a graph,
that is generated Python code: nothing is interpreted while it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from .quantize_graph import LAYERS, TRANSPARENT, aten, is_saturation, source_of
from .quantize_grids import QLayer, QParams


def _to_grid(x: Tensor, scale: float, low: float, high: float) -> Tensor:
    return x.div(scale).round_().clamp_(low, high)


def _to_grid_(x: Tensor, scale: float, low: float, high: float) -> Tensor:
    return x.div_(scale).round_().clamp_(low, high)


def _layer(
    target: Any, x: Tensor, weight: Tensor, bias: Tensor, rest: tuple[Any, ...], factor: Tensor, low: float, high: float
) -> Tensor:
    accumulator: Tensor = target(x, weight, bias, *rest)
    return accumulator.mul_(factor).round_().clamp_(low, high)


def _last_layer(target: Any, x: Tensor, weight: Tensor, bias: Tensor, rest: tuple[Any, ...], scale: Tensor) -> Tensor:
    accumulator: Tensor = target(x, weight, bias, *rest)
    return accumulator.mul_(scale)


def _add(a: Tensor, b: Tensor, factor_a: float, factor_b: float, low: float, high: float) -> Tensor:
    return a.mul(factor_a).add_(b, alpha=factor_b).round_().clamp_(low, high)


def _mul(a: Tensor, b: Tensor, factor: float, low: float, high: float) -> Tensor:
    return a.mul(b).mul_(factor).round_().clamp_(low, high)


def build_simulator(graph: fx.GraphModule, grids: dict[str, QParams], layers: dict[str, QLayer]) -> fx.GraphModule:
    """The network on integers held in float32, ``images -> logits``; to run under ``torch.inference_mode``.

    Args:
        graph: of ``quantize_graph.capture``.
        grids: node name -> grid of its result.
        layers: node name -> integer parameters.
    """
    new = fx.Graph()
    tensors: dict[str, Tensor] = {}
    env: dict[fx.Node, fx.Node] = {}

    def attribute(name: str, value: Tensor) -> fx.Node:
        tensors[name] = value
        return new.get_attr(name)

    def real(node: fx.Node) -> fx.Node:
        return new.call_function(torch.mul, (env[node], grids[node.name].scale)) if node.name in grids else env[node]

    for node in graph.graph.nodes:
        if node.op == "get_attr":
            if not all(user.target in LAYERS for user in node.users):
                env[node] = attribute(node.name, getattr(graph, node.target))
            continue
        if node.op == "output":
            new.output(real(node.args[0]))
            continue
        if node.op == "placeholder":
            grid = grids[node.name]
            env[node] = new.call_function(_to_grid, (new.placeholder(node.name), grid.scale, *grid.limits))
            continue
        if node.target in LAYERS:
            layer = layers[node.name]
            scale = layer.weight_scale.double() * grids[source_of(node).name].scale
            output = grids.get(node.name)
            factor = (scale if output is None else scale / output.scale).float()
            arguments: tuple[Any, ...] = (
                node.target,
                env[node.args[0]],
                attribute(f"{node.name}_weight", layer.weight.float()),
                attribute(f"{node.name}_bias", layer.bias.float()),
                node.args[3:],
                attribute(f"{node.name}_factor", factor.reshape(-1, *[1] * (layer.weight.ndim - 2))),
            )
            if output is None:
                env[node] = new.call_function(_last_layer, arguments)
            else:
                env[node] = new.call_function(_layer, (*arguments, *output.limits))
            continue
        grid = grids[node.name]
        if is_saturation(node):
            env[node] = env[node.args[0]]
        elif node.target in TRANSPARENT:
            env[node] = new.call_function(node.target, fx.map_arg(node.args, env.__getitem__), node.kwargs)
        elif _is_binary(node, grids):
            a, b = node.args
            scale_a, scale_b = grids[a.name].scale, grids[b.name].scale
            if node.target is aten.add.Tensor:
                arguments = (env[a], env[b], scale_a / grid.scale, scale_b / grid.scale, *grid.limits)
                env[node] = new.call_function(_add, arguments)
            else:
                arguments = (env[a], env[b], scale_a * scale_b / grid.scale, *grid.limits)
                env[node] = new.call_function(_mul, arguments)
        else:
            result = new.call_function(node.target, fx.map_arg(node.args, real), fx.map_arg(node.kwargs, real))
            env[node] = new.call_function(_to_grid_, (result, grid.scale, *grid.limits))
    return fx.GraphModule(tensors, new)


def _is_binary(node: fx.Node, grids: dict[str, QParams]) -> bool:
    """A plain sum or product of two quantized tensors."""
    known = node.target in (aten.add.Tensor, aten.mul.Tensor) and len(node.args) == 2 and not node.kwargs
    return known and all(isinstance(a, fx.Node) and a.name in grids for a in node.args)
