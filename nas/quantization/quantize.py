"""Post-training quantization of a convolutional network, and a fast simulator of the integer runtime.

Real values are ``scale * (q - zero_point)`` (Jacob et al., arXiv:1712.05877). Weights are symmetric int8 with a scale
per output channel, activations int8 with one scale and zero point a tensor, biases int32 on the grid
``input scale * weight scale``. Batch norm is folded first. Stages of 4- or 2-bit weights compute on int8 all the same.

Quantized are the input and the result of every operator that computes (a convolution's after its ReLU, but before any
other activation). Values that only move (flatten, padding, max pooling) keep their grid. The last layer's result, the
output, stays real: on 255 levels the two best classes tie in about one image of a hundred.

A stage whose precision is fp32 is a float island: a tensor that only its operators write and read stays real, all
others are on int8 grids.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from nas.store.records import FIRST_RULES, RULES
from search_spaces.errors import UserError
from search_spaces.policy import FLOAT, INT8, WEIGHT_BITS, Policy, check_stages

from .correct import Moments, correct, moments
from .gates import fold_gates
from .graph import capture, path_of
from .grids import QLayer, QParams, choose_qparams, grid_values, quantize_layer, without_ties
from .operators import is_function, is_saturation, operator_of, source_of
from .simulator import build_simulator

_UNIFORM = Policy(INT8)
_ANY_RANGE = 6.0
BATCH = 64  # images at once: large enough for the operators' overhead, small enough for the caches

Range = tuple[float, float]


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized network; calling it runs the simulator.

    Attributes:
        graph: the float network, batch norm folded (see :func:`nas.quantization.graph.capture`).
        activations: node name -> grid of its result, where it is on one. A layer followed by a ReLU has the grid of the
            ReLU's result, which saturates exactly where the ReLU would.
        layers: node name -> integer parameters, of quantized layers.
        image_shape: channels, height, width.
        simulator: the same network, quantized parts on integers held in float32.
    """

    graph: fx.GraphModule
    activations: dict[str, QParams]
    layers: dict[str, QLayer]
    policy: Policy
    image_shape: tuple[int, int, int]
    simulator: fx.GraphModule

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of normalised images ``[n, C, H, W]``, as the integer runtime computes them."""
        with torch.inference_mode():
            return torch.cat([self.simulator(batch) for batch in images.split(BATCH)])


def quantize(
    model: nn.Module, calibration: Tensor, policy: Policy = _UNIFORM, clips: Mapping[str, Tensor] | None = None,
    corrected_bits: int = 4, rules: int = RULES,
) -> QuantizedModel:  # fmt: skip
    """Quantize a network.

    The defaults are what served trained subnets best (MobileNetV3, three data sets, four subnets each; mean change of
    top-1 against fp32, in points): int8 +0.1, where other ranges and a correction gain nothing; 4-bit weights -2.0
    plain, -0.5 corrected; 2-bit weights at chance plain, -25 corrected, -43 where grids end at the largest weight.

    Args:
        model: in eval mode, on the CPU, with its own batch norm statistics; not modified.
        calibration: normalised images ``[n, C, H, W]`` that activation ranges are taken from.
        clips: path of a convolution or linear layer -> natural logarithm ``[out]`` of the ratio between the largest
            magnitude on a channel's weight grid and the channel's largest weight. A layer without one has 0 at 8 bits,
            and below that the ratio of least squared error.
        corrected_bits: layers whose weights have at most so many bits get back the mean and spread of their results,
            see :mod:`nas.quantization.correct`; 8: all, 0: none.
        rules: :data:`nas.store.records.RULES`, or those that a run of an earlier version was measured with.

    Raises:
        UsageError: the policy names a stage which the network does not have.
        UserError: no calibration images or constant ones, values that are not finite, or an operator that cannot be
            quantized.
    """
    check_stages(policy, [path for path, _ in model.named_modules()], "the network")
    _check_images(calibration)
    _, channels, height, width = calibration.shape
    graph = capture(model, (channels, height, width))
    if rules > FIRST_RULES:
        fold_gates(graph, policy)
    with torch.inference_mode():
        bits = {
            node.name: WEIGHT_BITS[policy.of(path_of(node))]
            for node in graph.graph.nodes
            if operator_of(node).has_weights and policy.of(path_of(node)) != FLOAT
        }
        corrected = {name for name, size in bits.items() if size <= corrected_bits}
        placed = _on_grids(graph, policy)
        limits = {node.name: _limits(node) for node in placed if not _gets_grid(node)}
        ranges, moments = find_ranges(graph, calibration, limits, corrected)
        activations = _grids(graph, placed, ranges, rules)
        layers, input_scales = {}, {}
        for node in graph.graph.nodes:
            if node.name in bits:
                weight, bias = (getattr(graph, argument.target) for argument in node.args[1:3])
                clip = None if clips is None else clips.get(path_of(node))
                input_scales[node.name] = activations[source_of(node).name].scale
                layers[node.name] = quantize_layer(weight, bias, input_scales[node.name], bits[node.name], clip)
        simulator = build_simulator(graph, activations, layers)
        if corrected:
            layers |= correct(simulator, layers, input_scales, moments, calibration[:BATCH])
            simulator = build_simulator(graph, activations, layers)
    return QuantizedModel(graph, activations, layers, policy, (channels, height, width), simulator)


def outline(model: nn.Module, image_shape: tuple[int, int, int]) -> QuantizedModel:
    """The int8 form of a network without its numbers: any grids, all weights 1. It takes as long to run.

    Arguments and errors as of :func:`nas.quantization.graph.capture`, of which ``model`` may also be a result; that is
    left as it is.
    """
    graph = copy.deepcopy(model) if isinstance(model, fx.GraphModule) else capture(model, image_shape)
    fold_gates(graph, _UNIFORM)
    ranges = {node.name: (-_ANY_RANGE, _ANY_RANGE) for node in graph.graph.nodes}
    activations = _grids(graph, _on_grids(graph, _UNIFORM), ranges, RULES)
    layers = {}
    for node in graph.graph.nodes:
        if operator_of(node).has_weights:
            weight, bias = (getattr(graph, argument.target) for argument in node.args[1:3])
            layers[node.name] = quantize_layer(torch.ones_like(weight), torch.ones_like(bias), 1.0)
    simulator = build_simulator(graph, activations, layers)
    return QuantizedModel(graph, activations, layers, _UNIFORM, image_shape, simulator)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or len(images) == 0:
        raise UserError(
            f"calibration needs at least one image of shape [channels, height, width], got a tensor of shape "
            f"{list(images.shape)}; give a few hundred training images"
        )
    low, high = images.aminmax()
    if low == high:
        raise UserError(
            f"calibration images are constant: all {images.numel()} values are {float(low):g}, which tells no range of "
            "activations; give a few hundred training images"
        )


def _is_quantized(node: fx.Node, policy: Policy) -> bool:
    """Does this operator compute on integers? One that only moves values does not compute."""
    if node.op != "call_function" or operator_of(node).transparent:
        return False
    return policy.of(path_of(source_of(node) if is_saturation(node) else node)) != FLOAT


def _on_grids(graph: fx.GraphModule, policy: Policy) -> set[fx.Node]:
    """Nodes whose results are on int8 grids: all that quantized operators compute or, moved or not, read."""
    placed: set[fx.Node] = set()

    def reads_integers(node: fx.Node) -> bool:
        passes_on = node.op == "call_function" and (operator_of(node).transparent or is_saturation(node))
        return node in placed if passes_on else _is_quantized(node, policy)

    for node in reversed(graph.graph.nodes):  # readers before what they read
        if node.op in ("placeholder", "call_function") and (
            _is_quantized(node, policy) or any(map(reads_integers, node.users))
        ):
            placed.add(node)
    return placed


def _gets_grid(node: fx.Node) -> bool:
    """Is the grid of this result another's: of what it moves, or of the ReLU after it?"""
    return node.op == "call_function" and (operator_of(node).transparent or any(map(is_saturation, node.users)))


def _limits(node: fx.Node) -> Range:
    """Interval beyond which the readers of a node's result are flat."""
    readers = [operator_of(user).flat_beyond for user in node.users]
    return min(low for low, _ in readers), max(high for _, high in readers)


def _grids(graph: fx.GraphModule, placed: set[fx.Node], ranges: Mapping[str, Range], rules: int) -> dict[str, QParams]:
    """Node name -> grid of its result; the last layer's result is on none, also where it is moved afterwards."""
    grids: dict[str, QParams] = {}
    output = source_of(graph.graph.output_node())
    while operator_of(output).transparent:
        output = source_of(output)
    for node in graph.graph.nodes:
        operator = operator_of(node)
        if node is output and operator.has_weights:
            continue
        if node.op == "call_function" and operator.transparent:
            if source_of(node).name in grids:
                grids[node.name] = grids[source_of(node).name]
        elif node in placed and node.name in ranges:
            low, high = operator.output or ranges[node.name]
            limits = _limits(node)
            grid = choose_qparams(max(low, limits[0]), min(high, limits[1]))
            known = operator.is_activation if rules == FIRST_RULES else is_function(node)
            if node.op == "call_function" and known and source_of(node).name in grids:
                given = grids[source_of(node).name]
                exact = operator.fixed_point if rules > FIRST_RULES else None
                table = None if exact is None else partial(exact, given)
                grid = without_ties(grid, node.target(grid_values(given), *node.args[1:], **node.kwargs), table)
            grids[node.name] = grid
            if node.op == "call_function" and is_saturation(node):
                grids[source_of(node).name] = grids[node.name]
    return grids


def find_ranges(
    graph: fx.GraphModule, images: Tensor, limits: Mapping[str, Range], corrected: Collection[str]
) -> tuple[dict[str, Range], dict[str, Moments]]:
    """Ranges of results of the float network, and moments ``[out]`` of its layers' results, by node name.

    Args:
        images: normalised, ``[n, C, H, W]``; moments are those of the first :data:`BATCH`.
        limits: node name, for every range wanted -> interval beyond which values do not matter.
        corrected: node names of layers whose moments are wanted.

    Raises:
        UserError: values that are not finite.
    """
    observer = _Observer(graph, limits, corrected)
    for batch in images.split(BATCH):
        observer.run(batch)
    ranges = {}
    for name, limit in limits.items():
        low, high = float(observer.low[name]), float(observer.high[name])
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(
                f"cannot quantize: values at '{name}' are not finite; check the images and the training run"
            )
        ranges[name] = max(low, limit[0]), min(high, limit[1])
    return ranges, observer.moments


class _Observer(fx.Interpreter):
    """Runs the float network and looks at the results."""

    def __init__(self, graph: fx.GraphModule, names: Collection[str], corrected: Collection[str]) -> None:
        super().__init__(graph)
        self.names, self.corrected = names, corrected
        self.low: dict[str, Tensor] = {}
        self.high: dict[str, Tensor] = {}
        self.moments: dict[str, Moments] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and not isinstance(result, Tensor):
            raise UserError(f"cannot quantize this network: '{n.name}' ({n.target}) gives several tensors at once")
        if n.name in self.corrected and n.name not in self.moments:
            self.moments[n.name] = moments(result)
        if n.name in self.names:
            low, high = torch.aminmax(result)
            self.low[n.name] = torch.minimum(self.low.get(n.name, low), low)
            self.high[n.name] = torch.maximum(self.high.get(n.name, high), high)
        return result
