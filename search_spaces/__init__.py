"""What can be built: genes, architectures, and the networks and operators that they describe.

Importing this package loads nothing; its spaces need numpy, and torch and timm are imported where a model is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import Architecture
    from .presets import PRESETS, get_space
    from .space import SearchSpace

__all__ = ["PRESETS", "Architecture", "SearchSpace", "get_space"]

_HOMES = {"Architecture": "architecture", "PRESETS": "presets", "SearchSpace": "space", "get_space": "presets"}


def __getattr__(name: str) -> Any:
    """Look names of this package up when they are used: the command line's help needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
