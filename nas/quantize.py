"""Post-training int8 quantization of a convolutional network, and a fast simulator of the integer runtime.

Real values are ``scale * (q - zero_point)`` (Jacob et al., arXiv:1712.05877). Weights are symmetric int8 with a scale
per output channel, activations int8 with one scale and zero point a tensor, biases int32 on the grid
``input scale * weight scale``. Batch norm is folded first.

Quantized are the input and the result of every operator that computes (a convolution's after its ReLU, but before any
other activation). Values that only move (flatten, padding, max pooling) keep their grid. The last layer's result, the
logits, stays real: on 255 levels the two best classes tie in about one image of a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from search_spaces.errors import UserError

from .quantize_graph import LAYERS, TRANSPARENT, aten, capture, is_saturation, source_of
from .quantize_grids import QLayer, QParams, choose_qparams, quantize_layer
from .quantize_simulate import build_simulator

_BATCH = 64  # images at once: large enough for the operators' overhead, small enough for the caches

_USEFUL = {
    aten.hardswish.default: (-3.0, torch.inf),
    aten.hardsigmoid.default: (-3.0, 3.0),
    aten.silu.default: (-8.0, torch.inf),
    aten.sigmoid.default: (-8.0, 8.0),
}
"""Inputs beyond which an activation function is flat (exactly, or to 1/10 of a step of its output)."""

_GATE = (0.0, 255 / 254)
_KNOWN_RANGE = {aten.hardsigmoid.default: _GATE, aten.sigmoid.default: _GATE}
"""Results in [0, 1] by definition. The step is 1/254, not 1/255, so that 1/2 is on the grid: a hard sigmoid from a grid
of step 6/255 to one of step 1/255 puts *every* value half-way between two integers, where runtimes round apart."""


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized network; calling it runs the simulator.

    Attributes:
        graph: the float network, batch norm folded (see ``quantize_graph.capture``).
        activations: node name -> grid of its result. A layer followed by a ReLU has the grid of the ReLU's result,
            which saturates exactly where the ReLU would.
        layers: node name -> integer parameters.
        image_shape: channels, height, width.
        simulator: the same network on integers held in float32.
    """

    graph: fx.GraphModule
    activations: dict[str, QParams]
    layers: dict[str, QLayer]
    image_shape: tuple[int, int, int]
    simulator: fx.GraphModule

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of normalised images ``[n, C, H, W]``, as the integer runtime computes them."""
        with torch.inference_mode():
            return torch.cat([self.simulator(batch) for batch in images.split(_BATCH)])


def quantize(model: nn.Module, calibration: Tensor) -> QuantizedModel:
    """Quantize a network to int8.

    Args:
        model: in eval mode, on the CPU, with its own batch norm statistics; not modified.
        calibration: normalised images ``[n, C, H, W]`` that activation ranges are taken from.

    Raises:
        UserError: no calibration images, values that are not finite, or an operator that cannot be quantized.
    """
    if calibration.ndim != 4 or len(calibration) == 0:
        raise UserError(
            f"calibration needs at least one image of shape [channels, height, width], got a tensor of shape "
            f"{list(calibration.shape)}; give a few hundred training images"
        )
    _, channels, height, width = calibration.shape
    graph = capture(model, (channels, height, width))
    with torch.inference_mode():
        activations = _grids(graph, _Observer(graph).observe(calibration))
        layers = {
            node.name: quantize_layer(
                getattr(graph, node.args[1].target),
                getattr(graph, node.args[2].target),
                activations[source_of(node).name].scale,
            )
            for node in graph.graph.nodes
            if node.target in LAYERS
        }
        simulator = build_simulator(graph, activations, layers)
    return QuantizedModel(graph, activations, layers, (channels, height, width), simulator)


class _Observer(fx.Interpreter):
    """Runs the float network and keeps the smallest and largest value of every result."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.low: dict[str, Tensor] = {}
        self.high: dict[str, Tensor] = {}
        nodes = [n for n in graph.graph.nodes if n.op in ("placeholder", "call_function")]
        self.skip = {source_of(n) for n in nodes if n.op != "placeholder" and is_saturation(n)}
        self.skip |= {n for n in nodes if n.target in TRANSPARENT}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and not isinstance(result, Tensor):
            raise UserError(f"cannot quantize this network: '{n.name}' ({n.target}) gives several tensors at once")
        if n.op in ("placeholder", "call_function") and n not in self.skip:
            low, high = torch.aminmax(result)
            self.low[n.name] = torch.minimum(self.low.get(n.name, low), low)
            self.high[n.name] = torch.maximum(self.high.get(n.name, high), high)
        return result

    def observe(self, images: Tensor) -> dict[str, tuple[float, float]]:
        """Node name -> range over all images."""
        for batch in images.split(_BATCH):
            self.run(batch)
        names = list(self.low)
        table = torch.stack([torch.stack([self.low[n], self.high[n]]) for n in names])
        if not bool(table.isfinite().all()):
            name = names[int((~table.isfinite().all(1)).nonzero()[0])]
            raise UserError(
                f"cannot quantize: values at '{name}' are not finite; check the images and the training run"
            )
        return {name: (low, high) for name, (low, high) in zip(names, table.tolist(), strict=True)}


def _grids(graph: fx.GraphModule, ranges: dict[str, tuple[float, float]]) -> dict[str, QParams]:
    """The grid of every tensor of the network but the last layer's result."""
    grids: dict[str, QParams] = {}
    logits = source_of(graph.graph.output_node())
    for node in graph.graph.nodes:
        if node is logits and node.target in LAYERS:
            continue
        if node.name in ranges:
            low, high = _KNOWN_RANGE.get(node.target, ranges[node.name])
            readers = [_USEFUL.get(user.target, (-torch.inf, torch.inf)) for user in node.users]
            low, high = max(low, min(r[0] for r in readers)), min(high, max(r[1] for r in readers))
            grids[node.name] = choose_qparams(low, high)
            if node.op == "call_function" and is_saturation(node):
                grids[source_of(node).name] = grids[node.name]
        elif node.target in TRANSPARENT:
            grids[node.name] = grids[source_of(node).name]
    return grids
