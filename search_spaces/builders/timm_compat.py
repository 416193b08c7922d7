"""The one place that imports timm, with a workaround for a torchvision that was built for another torch.

timm imports torchvision. A torchvision wheel built for CUDA beside a CPU build of torch fails at import with
``operator torchvision::nms does not exist``: its Python code registers shapes for two operators whose C++ library
could not be loaded. Declaring the two operators first lets the import finish; neither is used for classification.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DECLARED: list[Any] = []
"""The library that declares the missing operators, which must stay alive; empty if none were missing."""


def _declare_missing_operators() -> None:
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    DECLARED.append(library)


_declare_missing_operators()

import timm  # noqa: E402
import timm.data  # noqa: E402
import timm.optim  # noqa: E402
import timm.scheduler  # noqa: E402

__all__ = ["ARITHMETIC", "FILLERS", "NoInit", "timm"]

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
