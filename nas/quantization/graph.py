"""The network as a flat graph of aten operators with batch norm folded: what quantization works on.

``torch.export`` turns the model into such a graph. Here its in-place operators become functional ones, whatever does
nothing at inference is dropped, and every batch norm disappears into the convolution before it
(Jacob et al., arXiv:1712.05877, section 3.2). Every node has the path of its module, since precision belongs to
modules.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from search_spaces.errors import UserError

from .operators import aten, is_known, operator_of, source_of

_DROPPED = {
    aten.dropout.default, aten.feature_dropout.default, aten.detach.default, aten.clone.default, aten.alias.default,
    aten.contiguous.default, aten.lift_fresh_copy.default,
}  # fmt: skip
_RESHAPES = {aten.view.default, aten.reshape.default, aten.expand.default}
_TRACE_BATCH = 3
_TRACES = "do_not_emit_stack_traces"
_CASTS = {aten.to.dtype, aten.to.dtype_layout, aten._to_copy.default, aten.type_as.default}
_SPLITS = {aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default}
_LINE = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = str(Path(torch.__file__).parent)


def capture(model: nn.Module, image_shape: tuple[int, int, int]) -> fx.GraphModule:
    """Graph of a model with batch norm folded, ``x [n, C, H, W] -> outputs``.

    Its nodes are one placeholder, ``get_attr``, functional aten operators and one output; :func:`path_of` says which
    module an operator was in.

    Args:
        model: in eval mode, its batch norm statistics already those of this network; not modified.
        image_shape: channels, height, width.

    Raises:
        UserError: an operator has no int8 form, or weights but is neither a convolution nor a linear layer; it names
            operator, module and line of code.
    """
    if model.training:
        raise ValueError("call model.eval() before quantization: batch norm is folded with its running statistics")
    with torch.no_grad():
        example = torch.zeros(_TRACE_BATCH, *image_shape)
        try:
            with without_stack_traces():
                return _fold(model, example)
        except UserError:
            return _fold(model, example)  # which raises it again, with the line of code


def _fold(model: nn.Module, example: Tensor) -> fx.GraphModule:
    program = torch.export.export(model, (example,), strict=False)
    for node in program.graph.nodes:  # what no other code could help is said first
        if what := operator_of(node).refused:
            raise refusal(node, f"it has {what} ({{name}}), and int8 covers convolutional networks")
    return _Folder(program).run()


@contextmanager
def without_stack_traces() -> Iterator[None]:
    """``torch.export`` without noting the lines of code that each node came from, which takes a tenth of its time.
    Versions of torch before the setting ignore it."""
    config: Any = fx.config
    before = getattr(config, _TRACES, False)
    setattr(config, _TRACES, True)
    try:
        yield
    finally:
        setattr(config, _TRACES, before)


def path_of(node: fx.Node) -> str:
    """Dotted path of the innermost module that an operator was in; of a layer with batch norm folded: the layer's."""
    path: str = node.meta["path"]
    return path


class Unquantizable(UserError):
    """A network cannot be quantized, for a ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot quantize this network: {reason}; use `precision` fp32")
        self.reason = reason


def refusal(node: fx.Node, problem: str) -> Unquantizable:
    """The error of a network that cannot be quantized because of a node of its exported graph: with its operator, its
    module, and the line of code where that is known."""
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", node.name)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    lines = [each for each in _LINE.findall(node.meta.get("stack_trace") or "") if _TORCH not in each[0]]
    place = f" in {stack[-1][0]}" if stack and stack[-1][0] else ""
    if lines:
        file, number = lines[-1]
        place += f" ({'/'.join(Path(file).parts[-3:])}:{number})"
    return Unquantizable(problem.format(name=f"{name}{place}"))


class _Folder:
    """One walk over the exported graph, building the folded one."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        stored = {**program.state_dict, **program.constants}
        places = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.source = program.graph
        self.lifted: dict[str, Tensor] = {name: stored[place].detach() for name, place in places.items()}
        self.results = signature.user_outputs
        self.graph = fx.Graph()
        self.tensors: dict[str, Tensor] = {}
        self.new: dict[fx.Node, fx.Node] = {}

    def run(self) -> fx.GraphModule:
        for node in self.source.nodes:
            if node.op == "placeholder":
                if node.name not in self.lifted:
                    self.new[node] = self.graph.placeholder(node.name)
            elif node.op == "call_function":
                self.call(node)
                if node in self.new:
                    stack = list(node.meta.get("nn_module_stack", {}).values())
                    self.new[node].meta.setdefault("path", stack[-1][0] if stack else "")
        output = next(n for n in self.source.nodes if n.name == self.results[0])
        self.graph.output(self.new[output])
        self.graph.eliminate_dead_code()
        return fx.GraphModule(self.tensors, self.graph)

    def call(self, node: fx.Node) -> None:
        target: Any = node.target
        args = node.args
        in_place = target.__name__.split(".")[0].endswith("_")
        if in_place:
            name, overload = target.__name__.split(".")
            target = getattr(getattr(aten, name[:-1]), overload)
        if target not in _SPLITS and all(n.name in self.lifted for n in node.all_input_nodes):
            self.lifted[node.name] = target(*fx.map_arg(args, lambda n: self.lifted[n.name]), **node.kwargs)
        elif target.__name__.startswith("_assert"):
            pass
        elif target in _DROPPED or (target in _CASTS and _is_float(node) and _is_float(source_of(node))):
            self.new[node] = self.new[source_of(node)]
        elif target in _SPLITS:
            pass  # its pieces are slices
        elif target is operator.getitem and source_of(node).target in _SPLITS:
            self.new[node] = self.piece(node)
        elif operator_of(node).has_weights:
            self.new[node] = self.layer(node)
        elif target is aten.batch_norm.default:
            self.new[node] = self.batch_norm(node)
        elif not is_known(node) or not isinstance(node.meta["val"], Tensor):
            raise refusal(node, "no int8 form is known of the operator {name}")
        else:
            if target in _RESHAPES:
                args = (args[0], _any_batch(node))
            elif target is aten.adaptive_avg_pool2d.default and list(args[1]) == [1, 1]:  # type: ignore[arg-type]
                target, args = aten.mean.dim, (args[0], [2, 3], True)  # one spelling of global average pooling
            elif target is aten.pad.default and args[3:] not in ((), (None,), (0,), (0.0,), (-math.inf,)):
                raise refusal(node, f"{{name}} pads with {args[3]}, not with 0")
            new_args = fx.map_arg(args, lambda each: self.constant_or_new(each, node))
            kwargs = fx.map_arg(node.kwargs, lambda each: self.constant_or_new(each, node))
            self.new[node] = self.graph.call_function(target, new_args, kwargs)
        if in_place:  # later readers of the overwritten tensor see the new values
            self.new[source_of(node)] = self.new[node]

    def piece(self, node: fx.Node) -> fx.Node:
        """One of the tensors that a split gives, as a slice."""
        split = source_of(node)
        number = int(node.args[1])  # type: ignore[arg-type]
        dim = split.args[2] if len(split.args) > 2 else split.kwargs.get("dim", 0)
        sizes = [each.shape[dim] for each in split.meta["val"]]
        first = sum(sizes[:number])
        return self.graph.call_function(
            aten.slice.Tensor, (self.new[source_of(split)], dim, first, first + sizes[number])
        )

    def constant_or_new(self, node: fx.Node, user: fx.Node) -> fx.Node:
        """The new node, or an attribute for a small constant of a ``user``."""
        if node.name not in self.lifted:
            return self.new[node]
        value = self.lifted[node.name]
        if value.ndim and len(value) == _TRACE_BATCH and not node.all_input_nodes and node.op == "call_function":
            raise refusal(user, "{name} reads a tensor that is made for every image")
        if sum(size > 1 for size in value.shape) > 1:
            raise refusal(
                user, f"{{name}} reads weights of shape {tuple(value.shape)} outside a convolution or linear layer"
            )
        return self.attribute(node.name, value)

    def attribute(self, name: str, value: Tensor) -> fx.Node:
        self.tensors[name] = value
        return self.graph.get_attr(name)

    def layer(self, node: fx.Node) -> fx.Node:
        """A convolution or linear layer with all arguments spelt out and a bias."""
        rest: tuple[Any, ...] = ()
        given = list(node.args[3:])
        if node.target is aten.conv2d.default:
            defaults: list[Any] = [[1, 1], [0, 0], [1, 1], 1]
            rest = tuple(given + defaults[len(given) :])
        weight, bias = (self.parameter(node, position) for position in (1, 2))
        assert weight is not None
        bias = torch.zeros(len(weight)) if bias is None else bias
        return self.new_layer(node.name, node.target, self.new[source_of(node)], weight, bias, rest)

    def parameter(self, node: fx.Node, position: int) -> Tensor | None:
        """A parameter among a node's arguments; None where it is None or left out."""
        given = node.args[position] if len(node.args) > position else None
        return self.lifted[given.name] if isinstance(given, fx.Node) else None

    def new_layer(
        self, name: str, target: Any, x: fx.Node, weight: Tensor, bias: Tensor, rest: tuple[Any, ...]
    ) -> fx.Node:
        parameters = (self.attribute(f"{name}_weight", weight), self.attribute(f"{name}_bias", bias))
        return self.graph.create_node("call_function", target, (x, *parameters, *rest), name=name)

    def batch_norm(self, node: fx.Node) -> fx.Node:
        """Fold into the layer before; without one, become a 1x1 depthwise convolution."""
        source = source_of(node)
        gain, shift = self.affine(node)
        before = self.new[source]
        if operator_of(before).has_weights and len(source.users) == 1:
            name = str(before.args[1]).removesuffix("_weight")
            weight, bias = self.tensors[f"{name}_weight"], self.tensors[f"{name}_bias"]
            rows = gain.reshape(-1, *[1] * (weight.ndim - 1))
            self.tensors[f"{name}_weight"] = (weight.double() * rows).float()
            self.tensors[f"{name}_bias"] = (bias.double() * gain + shift).float()
            return before
        if node.meta["val"].ndim != 4:
            raise refusal(node, "{name} has no layer before it to fold into")
        channels = len(gain)
        rest = ([1, 1], [0, 0], [1, 1], channels)
        weight = gain.float().reshape(channels, 1, 1, 1)
        return self.new_layer(node.name, aten.conv2d.default, before, weight, shift.float(), rest)

    def affine(self, node: fx.Node) -> tuple[Tensor, Tensor]:
        """``gain, shift`` with ``batch_norm(x) = gain * x + shift``, each ``[channels]``, in double precision."""
        given = [self.parameter(node, position) for position in (1, 2, 3, 4)]
        weight, bias, mean, var = (None if tensor is None else tensor.double() for tensor in given)
        if mean is None or var is None:
            raise refusal(node, "{name} keeps no running statistics")
        gain = torch.rsqrt(var + float(node.args[7]))  # type: ignore[arg-type]
        gain = gain if weight is None else gain * weight
        shift = -mean * gain
        return gain, shift if bias is None else shift + bias


def _is_float(node: fx.Node) -> bool:
    """Whether a tensor is of the type that networks compute in."""
    return bool(node.meta["val"].dtype == torch.float32)


def _any_batch(node: fx.Node) -> list[int]:
    """Sizes of a reshape traced at batch 3, for any batch."""
    source, shape = source_of(node).meta["val"].shape, node.meta["val"].shape
    keeps = source[0] == shape[0] == _TRACE_BATCH
    if not keeps or (node.target is not aten.expand.default and source[1:].numel() != shape[1:].numel()):
        raise refusal(node, "{name} reshapes across the batch dimension")
    return [-1, *map(int, shape[1:])]
