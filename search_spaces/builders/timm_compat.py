"""The one place that imports timm, with a workaround for a torchvision that was built for another torch.

timm imports torchvision. A torchvision wheel built for CUDA beside a CPU build of torch fails at import with
``operator torchvision::nms does not exist``: its Python code registers shapes for two operators whose C++ library
could not be loaded. Declaring the two operators first lets the import finish; neither is used for classification.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch

from .no_init import NoInit

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

__all__ = ["NoInit", "timm"]
