"""The operators a network executes, read off the model itself.

The model runs once on the ``meta`` device, under a mode that sees every torch function, works out its output shape
and notes it. What is noted is the *deployed* network: batch norm is folded into the convolution before it, ReLU and
ReLU6 are fused into it, dropout is gone, and hard-swish and the other activations run in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

KINDS = ("conv", "pointwise", "depthwise", "linear", "matmul", "elementwise", "pool")


@dataclass(frozen=True)
class Op:
    """One executed operator at batch 1.

    Attributes:
        kind: one of :data:`KINDS`: ``conv`` is a dense or grouped k x k convolution, ``pointwise`` a dense 1x1,
            ``depthwise`` one filter a channel.
        path: module that executes it, ``blocks.2.0.conv_dw``.
        out_shape: without the batch dimension.
        macs: multiply-accumulates.
        weights: weight elements (quantized per channel).
        channels: output channels that have a bias and a scale after folding.
        moved: activation elements read and written.
        live: activation elements alive while it runs, inputs and outputs included.
    """

    kind: str
    path: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    channels: int
    moved: int
    live: int


def trace(model: nn.Module, in_chans: int, resolution: int) -> list[Op]:
    """Operators of a model on a square image, in execution order.

    Args:
        model: a timm model in eval mode; its parameters may live on the ``meta`` device.
        in_chans: input channels.
        resolution: input side in pixels.
    """
    import torch

    tracer = _tracer()
    with torch.no_grad(), _paths(model, tracer), tracer:
        model(torch.empty(1, in_chans, resolution, resolution, device="meta"))
    ops: list[Op] = tracer.finish()
    return ops


@contextmanager
def _paths(model: nn.Module, tracer: Any) -> Iterator[None]:
    """Keep ``tracer.path`` equal to the dotted name of the module that is running."""
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
            tracer.path.append(name)

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            tracer.path.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tracer() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    inplace_names = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "batch_norm", "dropout", "identity"}
    unary_names = {
        "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "silu", "silu_", "sigmoid", "sigmoid_", "gelu",
        "softmax", "layer_norm", "group_norm", "tanh", "relu6_", "mish", "leaky_relu",
    }  # fmt: skip
    binary_names = {"add", "add_", "mul", "mul_", "__add__", "__mul__", "__iadd__", "__imul__", "__radd__", "__rmul__",
                    "sub", "div", "__sub__", "__truediv__", "__rsub__"}  # fmt: skip

    class Tracer(TorchFunctionMode):
        """Notes operators. Tensors that share storage after deployment (views, in place) share a buffer number."""

        def __init__(self) -> None:
            super().__init__()
            self.path: list[str] = []
            self.notes: list[tuple[Op, tuple[int, ...], int]] = []
            self.buffer: dict[int, int] = {}
            self.elements: list[int] = []
            self.keep: list[torch.Tensor] = []

        def new(self, tensor: torch.Tensor) -> int:
            self.keep.append(tensor)  # ids stay unique while the tensor lives
            self.buffer[id(tensor)] = len(self.elements)
            self.elements.append(tensor.numel())
            return self.buffer[id(tensor)]

        def of(self, tensor: torch.Tensor) -> int:
            known = self.buffer.get(id(tensor))
            return self.new(tensor) if known is None else known

        def alias(self, tensor: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
            self.keep.append(tensor)
            self.buffer[id(tensor)] = self.of(source)
            return tensor

        def note(
            self, kind: str, inputs: list[torch.Tensor], out: torch.Tensor, macs: int = 0, weights: int = 0,
            channels: int = 0, inplace: bool = False,
        ) -> torch.Tensor:  # fmt: skip
            read = tuple(self.of(t) for t in inputs)
            if inplace:
                self.alias(out, inputs[0])
            written = self.of(out)
            moved = sum(t.numel() for t in inputs) + out.numel()
            op = Op(kind, self.path[-1] if self.path else "", tuple(out.shape[1:]), macs, weights, channels, moved, 0)
            self.notes.append((op, read, written))
            return out

        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            name = getattr(func, "__name__", "")
            if name == "conv2d":
                return self.conv2d(*args, **kwargs)
            if name in inplace_names:
                return args[0]
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            if name in unary_names:
                return self.note("elementwise", tensors[:1], torch.empty_like(tensors[0]), inplace=True)
            out = func(*args, **kwargs)
            if not isinstance(out, torch.Tensor) or not tensors:
                return self.views(out, tensors)
            if name == "linear":
                weight = args[1]
                return self.note(
                    "linear", tensors[:1], out, out.numel() * weight.shape[1], weight.numel(), weight.shape[0]
                )
            if name in ("matmul", "bmm", "__matmul__"):
                return self.note("matmul", tensors, out, out.numel() * tensors[0].shape[-1])
            if name == "scaled_dot_product_attention":
                q, k, v = args[:3]
                macs = q.numel() * k.shape[-2] + q.numel() // q.shape[-1] * k.shape[-2] * v.shape[-1]
                return self.note("matmul", [q, k, v], out, macs)
            if name in binary_names:
                full = [t for t in tensors if not isinstance(t, torch.nn.Parameter)]
                return self.note("elementwise", full, out, inplace=name.endswith("_") and not name.startswith("__"))
            if name in ("mean", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "boolean_dispatch"):
                return self.note("pool", tensors[:1], out)
            if name in ("cat", "pad", "concat"):
                return self.note("elementwise", list(args[0]) if name != "pad" else tensors[:1], out)
            return self.views(out, tensors)

        def views(self, out: Any, tensors: list[torch.Tensor]) -> Any:
            """Reshapes and splits share their source's storage."""
            for result in out if isinstance(out, tuple | list) else [out]:
                if isinstance(result, torch.Tensor) and tensors and id(result) not in self.buffer:
                    self.alias(result, tensors[0])
            return out

        def conv2d(
            self, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
            dilation: Any = 1, groups: int = 1,
        ) -> torch.Tensor:  # fmt: skip
            pair = torch.nn.modules.utils._pair
            cout, cin, kh, kw = weight.shape
            stride, dilation = pair(stride), pair(dilation)
            if padding == "same":
                size = [math.ceil(s / st) for s, st in zip(x.shape[2:], stride, strict=True)]
            else:
                pad = (0, 0) if padding == "valid" else pair(padding)
                size = [
                    (s + 2 * p - d * (k - 1) - 1) // st + 1
                    for s, p, d, k, st in zip(x.shape[2:], pad, dilation, (kh, kw), stride, strict=True)
                ]
            if min(size) < 1:
                raise ValueError(f"{self.path[-1]}: a {kh}x{kw} convolution does not fit on {tuple(x.shape[2:])}")
            out = torch.empty(x.shape[0], cout, *size, device="meta")
            if groups == 1:
                kind = "pointwise" if kh == kw == 1 else "conv"
            else:
                kind = "depthwise" if groups == x.shape[1] and cin == 1 else "conv"
            return self.note(kind, [x], out, out.numel() * cin * kh * kw, weight.numel(), cout)

        def finish(self) -> list[Op]:
            """Fill in how much is alive: a buffer lives from its first to its last use."""
            first: dict[int, int] = {}
            last: dict[int, int] = {}
            for i, (_, read, written) in enumerate(self.notes):
                for number in (*read, written):
                    first.setdefault(number, i)
                    last[number] = i
            for number in self.notes[0][1]:
                first[number] = 0
            live = [0] * len(self.notes)
            for number, start in first.items():
                for i in range(start, last[number] + 1):
                    live[i] += self.elements[number]
            return [replace(op, live=live[i]) for i, (op, _, _) in enumerate(self.notes)]

    return Tracer()
