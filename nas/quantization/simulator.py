"""The simulator: an integer runtime's results at the speed of a float network.

Tensors hold ``q - zero_point`` in float32. Sums of products of such integers are exact below 2^24, which the
accumulators of real networks rarely pass, so that results equal those of integer kernels. Operators that stay in float
compute on real values. The simulator is a graph, that is generated Python code: nothing is interpreted while it runs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from .graph import TRANSPARENT, aten, is_saturation, source_of
from .grids import QLayer, QParams


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


def _add(a: Tensor, b: Tensor, multipliers: tuple[int, int], shift: int, low: float, high: float) -> Tensor:
    total = a.to(torch.int32).mul_(multipliers[0]).add_(b.to(torch.int32), alpha=multipliers[1])
    return total.add_(1 << (shift - 1)).bitwise_right_shift_(shift).clamp_(int(low), int(high)).float()


def _mul(a: Tensor, b: Tensor, factor: float, low: float, high: float) -> Tensor:
    return a.mul(b).mul_(factor).round_().clamp_(low, high)


def _mean(x: Tensor, dims: list[int], keep: bool, ratio: float, low: float, high: float) -> Tensor:
    total = x.sum(dims, keep)
    return total.mul_(ratio * total.numel() / x.numel()).round_().clamp_(low, high)


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
            if not all(user.name in layers for user in node.users):
                env[node] = attribute(node.name, getattr(graph, node.target))
            continue
        if node.op == "output":
            new.output(real(node.args[0]))
            continue
        grid = grids.get(node.name)
        if node.op == "placeholder":
            images = new.placeholder(node.name)
            env[node] = images if grid is None else new.call_function(_to_grid, (images, grid.scale, *grid.limits))
            continue
        if node.name in layers:
            layer = layers[node.name]
            factor = layer.weight_scale * grids[source_of(node).name].scale  # in the runtimes' order, in float32
            factor = factor if grid is None else factor / grid.scale
            arguments: tuple[Any, ...] = (
                node.target,
                env[node.args[0]],
                attribute(f"{node.name}_weight", layer.weight.float()),
                attribute(f"{node.name}_bias", layer.bias.float()),
                node.args[3:],
                attribute(f"{node.name}_factor", factor.reshape(-1, *[1] * (layer.weight.ndim - 2))),
            )
            if grid is None:
                env[node] = new.call_function(_last_layer, arguments)
            else:
                env[node] = new.call_function(_layer, (*arguments, *grid.limits))
        elif grid is not None and is_saturation(node):
            env[node] = env[node.args[0]]
        elif node.target in TRANSPARENT:
            env[node] = new.call_function(node.target, fx.map_arg(node.args, env.__getitem__), node.kwargs)
        elif grid is not None and _is_binary(node, grids):
            a, b = node.args
            scale_a, scale_b = grids[a.name].scale, grids[b.name].scale
            if node.target is aten.add.Tensor:
                arguments = (env[a], env[b], *_fixed_point(scale_a / grid.scale, scale_b / grid.scale), *grid.limits)
                env[node] = new.call_function(_add, arguments)
            else:
                factor = torch.tensor(scale_a) * scale_b / grid.scale
                env[node] = new.call_function(_mul, (env[a], env[b], float(factor), *grid.limits))
        elif grid is not None and _is_mean(node, grids):
            ratio = grids[source_of(node).name].scale / grid.scale
            env[node] = new.call_function(
                _mean, (env[source_of(node)], node.args[1], len(node.args) > 2 and node.args[2], ratio, *grid.limits)
            )
        else:
            result = new.call_function(node.target, fx.map_arg(node.args, real), fx.map_arg(node.kwargs, real))
            env[node] = result if grid is None else new.call_function(_to_grid_, (result, grid.scale, *grid.limits))
    return fx.GraphModule(tensors, new)


def _fixed_point(a: float, b: float) -> tuple[tuple[int, int], int]:
    """Two factors as integers, and the bits to shift the sum of products by afterwards.

    So XNNPACK adds tensors: the larger multiplier has 21 bits, and half an integer is rounded up. In floating point,
    one sum in ten thousand would be another integer.
    """
    a, b = torch.tensor([a, b], dtype=torch.float32).tolist()
    shift = 21 - math.frexp(max(a, b))[1]
    return (round(math.ldexp(a, shift)), round(math.ldexp(b, shift))), shift


def is_integer_layer(node: fx.Node) -> bool:
    """Is this node of a simulator a quantized layer? Its arguments are ``(target, x, weight, bias, rest, ...)``."""
    return node.target in (_layer, _last_layer)


def layer_name(node: fx.Node) -> str:
    """Name of the layer, in the float graph, that a node of a simulator computes."""
    return str(node.args[3]).removesuffix("_bias")


def _is_binary(node: fx.Node, grids: dict[str, QParams]) -> bool:
    """A plain sum or product of two quantized tensors."""
    known = node.target in (aten.add.Tensor, aten.mul.Tensor) and len(node.args) == 2 and not node.kwargs
    return known and all(isinstance(a, fx.Node) and a.name in grids for a in node.args)


def _is_mean(node: fx.Node, grids: dict[str, QParams]) -> bool:
    """A mean of a quantized tensor over some of its dimensions."""
    return node.target is aten.mean.dim and not node.kwargs and bool(node.args[1]) and source_of(node).name in grids
