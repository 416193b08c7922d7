"""How each operator is quantized: one table, read wherever networks are captured, simulated, written or trained so.

An operator of :data:`REAL` computes on real values, and its result is put onto a grid of its own. A network with any
other one is refused: nobody has compared its simulation with a runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .fixed_point import hard_swish_table
from .grids import STEPS, QParams
from .kernels import Call, mean_call, product_call, sum_call

aten = torch.ops.aten

EVERYTHING = (-math.inf, math.inf)

GATE_STEP = 1 / 254
"""Step of the grid of functions whose results lie in [0, 1] by definition. It isn't 1/255, so that 1/2 is on the grid:
a hard sigmoid from a grid of step 6/255 to one of step 1/255 puts *every* value half-way between two integers, where
runtimes round apart."""
_GATE = (0.0, STEPS * GATE_STEP)

Write = Callable[[Any, tuple[Any, ...]], fx.Node]
"""Adds a call of an aten operator to a graph."""
Constant = Callable[[str, float], fx.Node]
"""Adds a constant with a name of its own to a graph."""


@dataclass(frozen=True)
class Operator:
    """How operators of one kind are quantized.

    Attributes:
        targets: aten operators that compute it in a captured graph.
        has_weights: its arguments are ``(x, weight, bias, ...)``, the output channels first in the weight.
        transparent: it moves or picks values, so that its result has the grid of its input.
        saturates: where it follows an operator that computes, the saturation of that result does it.
        operands: how many of its first arguments are tensors on grids.
        flat_beyond: inputs beyond which it is flat, exactly or to 1/10 of a step of its output.
        output: interval that its results lie in by definition; None: calibration finds it.
        kernel: its integer arithmetic, for a node with the grids of its operands and of its result; None, or where it
            returns None: it computes on real values.
        fixed_point: the 256 integers that runtimes without floats make of a grid's, for it and the grid of the result;
            grids are chosen so that rounding gives the same.
        spell_out: writes it as simpler operators, for dialects that lack it.
        refused: what a network with it has; such a network cannot be quantized. Empty: it can.
    """

    targets: tuple[Any, ...] = ()
    has_weights: bool = False
    transparent: bool = False
    saturates: bool = False
    operands: int = 1
    flat_beyond: tuple[float, float] = EVERYTHING
    output: tuple[float, float] | None = None
    kernel: Callable[[fx.Node, Sequence[QParams], QParams], Call | None] | None = None
    fixed_point: Callable[[QParams, QParams], Tensor] | None = None
    spell_out: Callable[[Write, Constant, fx.Node], fx.Node] | None = None
    refused: str = ""

    @property
    def computes(self) -> bool:
        """Whether its operands are put onto grids."""
        return not (self.transparent or self.saturates or self.refused)

    @property
    def is_activation(self) -> bool:
        """Whether its result, for each of the 256 values of an input, is a number known beforehand."""
        return self.flat_beyond != EVERYTHING


def _hard_sigmoid(write: Write, constant: Constant, x: fx.Node) -> fx.Node:
    three, six = constant("3", 3.0), constant("6", 6.0)
    return write(aten.div.Tensor, (write(aten.hardtanh.default, (write(aten.add.Tensor, (x, three)), 0.0, 6.0)), six))


def _moves(*targets: Any) -> Operator:
    return Operator(targets, transparent=True)


OPERATORS = {
    "conv2d": Operator((aten.conv2d.default,), has_weights=True),
    "depthwise_conv2d": Operator(has_weights=True),
    "linear": Operator((aten.linear.default,), has_weights=True),
    "add": Operator((aten.add.Tensor,), operands=2, kernel=sum_call),
    "sub": Operator(operands=2),
    "mul": Operator((aten.mul.Tensor,), operands=2, kernel=product_call),
    "div": Operator(operands=2),
    "mean": Operator((aten.mean.dim,), kernel=mean_call),
    "adaptive_avg_pool2d": Operator(),
    "avg_pool2d": Operator(),
    "hardswish": Operator((aten.hardswish.default,), flat_beyond=(-3.0, math.inf), fixed_point=hard_swish_table),
    "hardsigmoid": Operator(
        (aten.hardsigmoid.default,), flat_beyond=(-3.0, 3.0), output=_GATE, spell_out=_hard_sigmoid
    ),
    "silu": Operator((aten.silu.default,), flat_beyond=(-8.0, math.inf)),
    "sigmoid": Operator((aten.sigmoid.default,), flat_beyond=(-8.0, 8.0), output=_GATE),
    "gelu": Operator(),
    "tanh": Operator(),
    "layer_norm": Operator(),
    "relu": Operator((aten.relu.default,), saturates=True),
    "relu6": Operator((aten.relu6.default,), saturates=True),
    "hardtanh": Operator((aten.hardtanh.default,), saturates=True),
    "flatten": _moves(aten.flatten.using_ints),
    "view": _moves(aten.view.default),
    "reshape": _moves(aten.reshape.default),
    "permute": _moves(aten.permute.default),
    "transpose": _moves(aten.transpose.int),
    "squeeze": _moves(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims),
    "unsqueeze": _moves(aten.unsqueeze.default),
    "select": _moves(aten.select.int),
    "narrow": _moves(aten.narrow.default),
    "unflatten": _moves(aten.unflatten.int),
    "repeat": _moves(aten.repeat.default),
    "roll": _moves(aten.roll.default),
    "flip": _moves(aten.flip.default),
    "channel_shuffle": _moves(aten.channel_shuffle.default),
    "pixel_shuffle": _moves(aten.pixel_shuffle.default),
    "pixel_unshuffle": _moves(aten.pixel_unshuffle.default),
    "max_pool2d": _moves(aten.max_pool2d.default),
    "pad": _moves(aten.pad.default),
    "slice": _moves(aten.slice.Tensor),
    "expand": _moves(aten.expand.default),
    "expand_as": _moves(aten.expand_as.default),
    "scaled_dot_product_attention": Operator((aten.scaled_dot_product_attention.default,), refused="attention layers"),
    "matmul": Operator((aten.matmul.default,), refused="attention layers"),
    "bmm": Operator((aten.bmm.default,), refused="attention layers"),
    "baddbmm": Operator((aten.baddbmm.default,), refused="attention layers"),
    "einsum": Operator((aten.einsum.default,), refused="attention layers"),
}
"""Name of an operator, that of torch's function -> how it is quantized."""

REAL = frozenset({
    "abs", "adaptive_avg_pool1d", "addcmul", "amax", "amin", "avg_pool1d", "cat", "celu", "clamp", "clamp_max",
    "clamp_min", "concat", "elu", "exp", "glu", "group_norm", "instance_norm", "leaky_relu", "lerp",
    "linalg_vector_norm", "log", "log_sigmoid", "log_softmax", "max_pool1d", "maximum", "minimum", "mish", "neg",
    "pow", "prelu", "reciprocal", "rms_norm", "rsqrt", "rsub", "selu", "softmax", "softplus", "sqrt", "square",
    "stack", "std", "sum", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d", "var", "where",
})  # fmt: skip
"""Operators without a row that compute on real values: functions of values that are the same in every runtime, up to
rounding."""

FUNCTIONS = frozenset({
    "abs", "add", "celu", "clamp", "clamp_max", "clamp_min", "div", "elu", "exp", "gelu", "leaky_relu", "log",
    "log_sigmoid", "mish", "mul", "neg", "pow", "reciprocal", "rsqrt", "rsub", "selu", "softplus", "sqrt", "square",
    "sub", "tanh",
})  # fmt: skip
"""Operators that treat every value by itself where they read one tensor, besides those with ``flat_beyond``."""

_BY_TARGET = {target: (name, operator) for name, operator in OPERATORS.items() for target in operator.targets}
_OTHER = ("", Operator())


def operator_of(node: fx.Node) -> Operator:
    """How the operator of a node is quantized."""
    return _BY_TARGET.get(node.target, _OTHER)[1]


def name_of(node: fx.Node) -> str:
    """The key of a node's operator in :data:`OPERATORS`; empty: it has no row."""
    return _BY_TARGET.get(node.target, _OTHER)[0]


def is_known(node: fx.Node) -> bool:
    """Whether a call of an exported graph is of an operator that has a row here, or computes on real values."""
    name = str(getattr(getattr(node.target, "overloadpacket", None), "__name__", "")).removesuffix("_")
    return node.target in _BY_TARGET or name in OPERATORS or name in REAL


def is_function(node: fx.Node) -> bool:
    """Whether each of the 256 values that this node's one input may have gives one result, known beforehand."""
    name = str(getattr(getattr(node.target, "overloadpacket", None), "__name__", "")).removesuffix("_")
    others = [*node.args[1:], *node.kwargs.values()]
    return (operator_of(node).is_activation or name in FUNCTIONS) and not any(isinstance(n, fx.Node) for n in others)


def source_of(node: fx.Node) -> fx.Node:
    """The node that computes the first argument."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def is_saturation(node: fx.Node) -> bool:
    """Is this ReLU or ReLU6 done by the saturation of the result before it?"""
    if not operator_of(node).saturates or (node.target is aten.hardtanh.default and node.args[1:2] != (0,)):
        return False
    before = source_of(node)
    return before.op == "call_function" and not operator_of(before).transparent and len(before.users) == 1
