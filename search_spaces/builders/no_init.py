"""Building a model without initialising it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FILLERS = {
    function
    for name, function in vars(torch.nn.init).items()
    if name.endswith("_") and not name.startswith("_") and callable(function)
} | {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.zero_, torch.Tensor.fill_}
# What timm's own initialisers are made of. They change values only, and tensors on meta have none.
ARITHMETIC = {
    getattr(torch.Tensor, name)
    for name in ("add_", "sub_", "mul_", "div_", "clamp_", "copy_", "erfinv_", "exponential_", "trunc_", "round_")
}


class NoInit(TorchFunctionMode):
    """While active, ``torch.nn.init`` functions return their tensor untouched, and so does arithmetic in place on
    tensors without storage: more than twice as fast to build."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in FILLERS or (func in ARITHMETIC and args[0].is_meta):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
