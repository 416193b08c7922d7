"""What a program in an interpreter of its own, without this project, begins with."""

from __future__ import annotations

from search_spaces.builders.timm_compat import DECLARED

_DECLARES = """
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def begin() -> str:
    """Imports ``torch``, finds modules in its working directory, and takes a torchvision that is for another torch, if
    there is one here."""
    return f"import sys\nsys.path.insert(0, '.')\nimport torch\n{_DECLARES if DECLARED else ''}"
