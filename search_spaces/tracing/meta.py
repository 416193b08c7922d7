"""Results of common operators without storage, in microseconds: torch works their shapes out in Python, which takes
milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


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
    return func(*args, **kwargs)


def _same(x: Tensor, *_: Any) -> Tensor | None:
    return torch.empty_like(x) if x.is_floating_point() else None


def _itself(x: Tensor, *_: Any) -> Tensor:
    return x


def _binary(x: Tensor, other: Any) -> Tensor | None:
    if not isinstance(other, Tensor):
        return torch.empty_like(x) if x.is_floating_point() and isinstance(other, int | float) else None
    if not other.is_meta or x.dtype != other.dtype:
        return None
    if x.shape == other.shape:
        return torch.empty_like(x)
    shape = torch.broadcast_shapes(x.shape, other.shape)
    return torch.empty_like(x) if shape == x.shape else x.new_empty(shape)


def _batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1]
    return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)


def _layer_norm(x: Tensor, sides: Any, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    kept = (*x.shape[: x.dim() - len(sides)], *[1] * len(sides))
    return torch.empty_like(x), x.new_empty(kept), x.new_empty(kept)


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
    **dict.fromkeys((aten.relu_.default, aten.silu_.default, aten.hardswish_.default, aten.hardtanh_.default), _itself),
    **dict.fromkeys((aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor, aten.div.Tensor), _binary),
}
