"""Results of operators without storage, in microseconds: torch works their shapes out in Python, which takes
milliseconds.

Common operators have a short way here; of any other that makes new tensors, what it gave for arguments of some shapes
is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

_MOST = 20000  # results that are remembered
_KNOWN: dict[Any, tuple[Any, tuple[_Made, ...]]] = {}
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


@dataclass(frozen=True, slots=True)
class _Made:
    """A tensor that an operator made."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def again(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


class Quick(TorchDispatchMode):
    """While active, such operators take the short way."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator gives, with its shape, type and device; values only where its arguments have some."""
    short = _SHORT.get(func)
    if short is not None and not kwargs and isinstance(args[0], Tensor) and args[0].is_meta:
        result = short(*args)
        if result is not None:
            return result
    return _remembered(func, args, kwargs) if _makes(func) else func(*args, **kwargs)


def _remembered(func: Any, args: Any, kwargs: Any) -> Any:
    try:
        key = (func, _signature(args), _signature(tuple(kwargs.items())))
    except _OtherError:
        return func(*args, **kwargs)
    if key in _KNOWN:
        kind, made = _KNOWN[key]
        return made[0].again() if kind is Tensor else kind(each.again() for each in made)
    out = func(*args, **kwargs)
    several = (out,) if isinstance(out, Tensor) else out
    if type(several) in (tuple, list) and all(type(each) is Tensor and each.is_meta for each in several):
        if len(_KNOWN) >= _MOST:
            _KNOWN.clear()
        made = tuple(_Made(tuple(each.shape), each.stride(), each.dtype) for each in several)
        _KNOWN[key] = (Tensor if isinstance(out, Tensor) else type(out), made)
    return out


@cache
def _makes(func: Any) -> bool:
    """Whether an operator makes new tensors of others, and shares memory with none; if it looks at values, it fails."""
    schema = func._schema
    ends = (*schema.arguments, *schema.returns)
    tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return tensors and all(end.alias_info is None for end in ends)


class _OtherError(Exception):
    """An argument is of another kind."""


def _signature(value: Any) -> Any:
    """All of an argument that a result's shape, strides and type depend on. Raises _OtherError."""
    kind = type(value)
    if kind in (tuple, list):
        return tuple(map(_signature, value))
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.is_meta
    if kind in _PLAIN:
        return kind, value
    raise _OtherError


def _like(x: Tensor) -> Tensor:
    if x.is_contiguous():
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    made: Tensor = _remembered(aten.empty_like.default, (x,), {})
    return made


def _same(x: Tensor, *_: Any) -> Tensor | None:
    return _like(x) if x.is_floating_point() else None


def _itself(x: Tensor, *_: Any) -> Tensor:
    return x


def _binary(x: Tensor, other: Any) -> Tensor | None:
    if not isinstance(other, Tensor):
        return _like(x) if x.is_floating_point() and isinstance(other, int | float) else None
    if not other.is_meta or x.dtype != other.dtype:
        return None
    if x.shape == other.shape:
        return _like(x)
    shape = torch.broadcast_shapes(x.shape, other.shape)
    return _like(x) if shape == x.shape else x.new_empty(shape)


def _binary_in_place(x: Tensor, other: Any, *_: Any) -> Tensor | None:
    if not isinstance(other, Tensor):
        return x if x.is_floating_point() and isinstance(other, int | float) else None
    fits = x.shape == other.shape or (other.is_meta and torch.broadcast_shapes(x.shape, other.shape) == x.shape)
    return x if fits and x.dtype == other.dtype else None


def _batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1]
    return _like(x), x.new_empty(channels), x.new_empty(channels)


def _layer_norm(x: Tensor, sides: Any, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    kept = (*x.shape[: x.dim() - len(sides)], *[1] * len(sides))
    return _like(x), x.new_empty(kept), x.new_empty(kept)


_SHORT: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.gelu.default,
            aten.silu.default,
            aten.sigmoid.default,
            aten.tanh.default,
            aten.hardswish.default,
            aten.hardsigmoid.default,
            aten.hardtanh.default,
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            aten.relu_.default,
            aten.silu_.default,
            aten.sigmoid_.default,
            aten.tanh_.default,
            aten.hardswish_.default,
            aten.hardsigmoid_.default,
            aten.hardtanh_.default,
            aten.leaky_relu_.default,
            aten.clamp_.default,
            aten.zero_.default,
        ),
        _itself,
    ),
    **dict.fromkeys((aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor, aten.div.Tensor), _binary),
    **dict.fromkeys((aten.add_.Tensor, aten.mul_.Tensor, aten.sub_.Tensor, aten.div_.Tensor), _binary_in_place),
}
