"""The simulator: an integer runtime's results at the speed of a float network.

Tensors hold ``q - zero_point`` in float32. Sums of products of such integers are exact below 2^24, which the
accumulators of real networks rarely pass, so that results equal those of integer kernels. Operators that stay in float
compute on real values. The simulator is a graph, that is generated Python code: nothing is interpreted while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from .grids import QLayer, QParams
from .kernels import Call, last_layer, layer, to_grid, to_grid_
from .operators import is_saturation, operator_of, source_of


def build_simulator(graph: fx.GraphModule, grids: dict[str, QParams], layers: dict[str, QLayer]) -> fx.GraphModule:
    """The network on integers held in float32, ``images -> outputs``; to run under ``torch.inference_mode``.

    ``grids`` of results and ``layers`` are by node name.
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
            env[node] = images if grid is None else new.call_function(to_grid, (images, grid.scale, *grid.limits))
            continue
        if node.name in layers:
            stored = layers[node.name]
            factor = stored.weight_scale * grids[source_of(node).name].scale  # in the runtimes' order, in float32
            factor = factor if grid is None else factor / grid.scale
            arguments: tuple[Any, ...] = (
                node.target,
                env[node.args[0]],
                attribute(f"{node.name}_weight", stored.weight.float()),
                attribute(f"{node.name}_bias", stored.bias.float()),
                node.args[3:],
                attribute(f"{node.name}_factor", factor.reshape(-1, *[1] * (stored.weight.ndim - 2))),
            )
            if grid is None:
                env[node] = new.call_function(last_layer, arguments)
            else:
                env[node] = new.call_function(layer, (*arguments, *grid.limits))
        elif grid is not None and is_saturation(node):
            env[node] = env[node.args[0]]
        elif operator_of(node).transparent:
            env[node] = new.call_function(node.target, fx.map_arg(node.args, env.__getitem__), node.kwargs)
        elif grid is not None and (call := kernel_of(node, grids)) is not None:
            operands = [env[each] for each in node.args[: operator_of(node).operands]]
            env[node] = new.call_function(call[0], (*operands, *call[1]))
        else:
            result = new.call_function(node.target, fx.map_arg(node.args, real), fx.map_arg(node.kwargs, real))
            env[node] = result if grid is None else new.call_function(to_grid_, (result, grid.scale, *grid.limits))
    return fx.GraphModule(tensors, new)


def kernel_of(node: fx.Node, grids: Mapping[str, QParams]) -> Call | None:
    """The integer arithmetic of a node whose result is on a grid; None: it computes on real values.

    ``grids`` of results are by node name.
    """
    operator = operator_of(node)
    inputs = [grids.get(each.name) if isinstance(each, fx.Node) else None for each in node.args[: operator.operands]]
    known = [each for each in inputs if each is not None]
    if operator.kernel is None or len(known) < operator.operands:
        return None
    return operator.kernel(node, known, grids[node.name])
