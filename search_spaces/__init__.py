"""What can be built: genes, architectures, and the networks and operators that they describe.

Importing this package loads nothing; its spaces need numpy, and torch and timm are imported where a model is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import Architecture
    from .genes import Gene
    from .presets import PRESETS, get_space
    from .space import Family, SearchSpace, Segment

__all__ = ["PRESETS", "Architecture", "Family", "Gene", "SearchSpace", "Segment", "get_space"]

_HOMES = {
    "architecture": ("Architecture",),
    "presets": ("PRESETS", "get_space"),
    "genes": ("Gene",),
    "space": ("Family", "SearchSpace", "Segment"),
}


def __getattr__(name: str) -> Any:
    """Look names of this package up when they are used: the command line's help needs none of them."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
