"""Noting the operators of a running model, for ``trace``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, empty
from torch.utils._python_dispatch import TorchDispatchMode

from .deploy import Note

# Names of operators as PyTorch dispatches them, without the _ of the in-place form.
_FUSED = {"relu", "hardtanh"}
_UNARY = {
    "hardswish", "hardsigmoid", "silu", "sigmoid", "gelu", "tanh", "mish", "leaky_relu", "elu", "softplus", "exp",
    "sqrt", "rsqrt", "neg", "abs", "erf", "_softmax", "_safe_softmax", "_log_softmax", "clamp", "clamp_min", "pow",
    "log", "sin", "cos", "reciprocal",
}  # fmt: skip
_BINARY = {"add", "sub", "mul", "div", "rsub"}
_POOLS = {
    "mean", "sum", "amax", "amin", "max", "min", "var", "var_mean", "std_mean", "linalg_vector_norm", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_max_pool2d", "logsumexp",
}  # fmt: skip
_PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "mv": (0, 1), "dot": (0, 1)}
# They look at the shape of their argument, not at its values.
_SHAPE_ONLY = {
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
    "new_ones", "new_full", "new_empty_strided",
}  # fmt: skip


def like(tensor: Tensor) -> Tensor:
    """``torch.empty_like``, which is slow on meta."""
    return empty(tensor.shape, device="meta") if tensor.is_contiguous() else torch.empty_like(tensor)


def mean(x: Tensor, dims: Sequence[int], keep: bool = False) -> Tensor:
    """The result of ``aten::mean.dim``, without its values."""
    gone = {d % x.dim() for d in dims or range(x.dim())}
    size = [1 if d in gone else s for d, s in enumerate(x.shape) if keep or d not in gone]
    return empty(size, device="meta")


def tensors_in(args: Sequence[Any]) -> list[Tensor]:
    """The tensors among arguments or results, and in lists among them."""
    tensors = []
    for a in args:
        if isinstance(a, Tensor):
            tensors.append(a)
        elif isinstance(a, list | tuple):
            tensors += [t for t in a if isinstance(t, Tensor)]
    return tensors


def place(tensor: Tensor) -> int:
    """Tensors that share storage, as views do, share a place."""
    number: int = tensor.untyped_storage()._cdata
    return number


class Tracer(TorchDispatchMode):
    """Notes operators that depend on the image; shapes of common operators are worked out here, which is faster.

    ``path`` are the dotted names of the modules that are running, ``elements`` the size of each buffer.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path: list[str] = []
        self.notes: list[Note] = []
        self.elements: list[int] = []
        self.keep: list[Any] = []  # places stay unique while their tensors live
        self.buffer: dict[int, int] = {}
        self.counted: set[tuple[int, int, int]] = set()
        self.names: dict[Any, tuple[str, bool]] = {}
        self.new(image)

    def new(self, tensor: Tensor) -> int:
        """The buffer of a tensor that depends on the image."""
        number = self.buffer.get(key := place(tensor))
        if number is None:
            self.keep.append(tensor)
            number = self.buffer[key] = len(self.elements)
            self.elements.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return number

    def weigh(self, tensor: Tensor) -> int:
        """Elements of a constant, once."""
        key = (place(tensor), int(tensor.storage_offset()), tensor.numel())
        if tensor.dim() == 0 or key in self.counted:
            return 0
        self.counted.add(key)
        return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in self.names:
            name = func.overloadpacket.__name__
            self.names[func] = name.removesuffix("_"), func._schema.is_mutable
        name, mutable = self.names[func]
        tensors = tensors_in(args) + (tensors_in(list(kwargs.values())) if kwargs else [])
        inputs: list[Tensor] = []
        constants: list[Tensor] = []
        for tensor in tensors:
            (inputs if place(tensor) in self.buffer else constants).append(tensor)
        if not inputs or name in _SHAPE_ONLY:
            out = func(*args, **kwargs)
            self.keep.append(out)
            return out
        if name == "convolution":
            return self.convolution(func, args, inputs)
        if "batch_norm" in name or name in ("native_layer_norm", "native_group_norm"):
            return self.norm(name, args, inputs, constants)
        if name in _PRODUCTS:
            return self.product(name, func, args, inputs, constants)
        rule = ""
        if name == "copy" and any(t is args[1] for t in inputs):
            inputs = [args[1]]  # what is written over is not read
        if name in _FUSED or name in _UNARY or name in _BINARY:
            out = args[0] if mutable else self.elementwise(func, args, kwargs)
            scaled = name in ("mul", "div") and len(tensors) == 1
            rule = "view" if scaled else "fuse" if name in _FUSED else "inplace"
        elif name == "mean" and len(args) > 1:
            out = mean(*args)
        else:
            out = func(*args, **kwargs)
            rule = "pad" if name == "constant_pad_nd" else ""
        results = tensors_in([args[0]] if mutable else [out])
        if not results or (not mutable and place(results[0]) in {place(t) for t in tensors}):
            return out  # a number, or views
        kind = "pool" if name in _POOLS else "elementwise"
        weights = sum(map(self.weigh, constants))
        self.note(kind, rule, inputs, results[:1] if kind == "pool" else results, 0, weights, 0)
        return out

    def skip(self, inputs: list[Tensor], shape: Sequence[int], weighted: bool) -> Tensor:
        """A part of the network that is not run, with a result of that shape: one operator of kind ``skip``.
        ``weighted``: its last operator is a convolution or the like, which batch norm can be folded into."""
        out = empty(*shape, device="meta")
        self.note("skip", "", [t for t in inputs if place(t) in self.buffer], [out], int(weighted), 0, int(weighted))
        return out

    def norm(self, name: str, args: Any, inputs: list[Tensor], constants: list[Tensor]) -> tuple[Tensor, ...]:
        """Batch, layer and group norm: a scale counts as weights, a bias as channels."""
        if "batch_norm" in name:
            out = like(args[0])
            frozen = name.endswith("no_training") or args[5] is False
            rule, weights, channels = "fold" if frozen else "inplace", args[0].shape[1], args[0].shape[1]
        else:
            out, rule = empty(args[0].shape, device="meta"), "inplace"
            weights, channels = (self.weigh(c) for c in [*constants, empty(()), empty(())][:2])
        self.note("elementwise", rule, inputs, [out], 0, weights, channels)
        return out, empty(0), empty(0)

    def note(
        self, kind: str, rule: str, inputs: list[Tensor], outs: list[Tensor], macs: int, weights: int, channels: int
    ) -> None:
        """Note an operator; see ``deploy.Note``."""
        reads = [(self.buffer[place(t)], t.numel()) for t in inputs]
        writes = [self.new(out) for out in outs]
        path = self.path[-1] if self.path else ""
        written = sum(out.numel() for out in outs)
        shape = tuple(outs[0].shape)
        shape = shape[1:] if shape[:1] == (1,) else shape  # products of matrices have no batch dimension left
        self.notes.append(Note(kind, rule, path, shape, macs, weights, channels, reads, writes, written))

    def elementwise(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """An operator without its result's values."""
        first, second = args[0], args[1] if len(args) > 1 else None
        if isinstance(first, Tensor) and first.dtype == torch.float32:
            if not isinstance(second, Tensor) or second.shape == first.shape:
                return like(first)
            if second.dtype == first.dtype and second.dim() == first.dim():
                return empty([max(a, b) for a, b in zip(first.shape, second.shape, strict=True)], device="meta")
        out: Tensor = func(*args, **kwargs)
        return out

    def product(self, name: str, func: Any, args: Any, inputs: list[Tensor], constants: list[Tensor]) -> Tensor:
        """A matrix product: ``linear`` where one side is constant."""
        left, right = (args[i] for i in _PRODUCTS[name])
        out: Tensor = func(*args) if right.dim() == 1 else empty(*left.shape[:-1], right.shape[-1], device="meta")
        macs = out.numel() * left.shape[-1]
        weight = next((t for t in (left, right) if any(t is c for c in constants)), None)
        if weight is None:
            self.note("matmul", "", inputs, [out], macs, sum(map(self.weigh, constants)), 0)
        else:
            channels = weight.shape[-2] if weight is left and weight.dim() > 1 else weight.shape[-1]
            self.note("linear", "", inputs, [out], macs, self.weigh(weight), channels)
        return out

    def convolution(self, func: Any, args: Any, inputs: list[Tensor]) -> Tensor:
        """A convolution of any number of dimensions, transposed or not."""
        x, weight, _, stride, padding, dilation, transposed, _, groups = args
        kernel = weight.shape[2:]
        out: Tensor
        if transposed:
            out = func(*args)
            macs, channels = x.numel() * weight[0].numel(), out.shape[1]
        else:
            size = [
                (s + 2 * p - d * (k - 1) - 1) // st + 1
                for s, p, d, k, st in zip(x.shape[2:], padding, dilation, kernel, stride, strict=True)
            ]
            if min(size) < 1:
                raise ValueError(f"{self.path[-1]}: a {_by(kernel)} convolution does not fit on {_by(x.shape[2:])}")
            out = empty(x.shape[0], weight.shape[0], *size, device="meta")
            macs, channels = out.numel() * math.prod(weight.shape[1:]), weight.shape[0]
        if groups == 1:
            kind = "pointwise" if math.prod(kernel) == 1 else "conv"
        else:
            kind = "depthwise" if groups == x.shape[1] == weight.shape[0] * weight.shape[1] else "conv"
        weights = 0 if place(weight) in self.buffer else self.weigh(weight)
        self.note(kind, "", inputs, [out], macs, weights, channels)
        return out


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
