"""Which versions of what produced a file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

NAS = "nas-supernet"
"""Name of this project's distribution."""


def versions() -> dict[str, str]:
    """What decides the content of a run's files beside its settings, with their versions."""
    return {"nas": version(NAS), "python": platform.python_version(), **libraries()}


def libraries() -> dict[str, str]:
    """What networks are made of."""
    return {name: version(name) for name in ("torch", "timm")}


def version(name: str) -> str:
    """Of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def in_words(found: Mapping[str, str] | None) -> str:
    """Versions that a file says; None: it says none, as earlier ones."""
    return "not recorded" if found is None else ", ".join(f"{name} {text}" for name, text in found.items())
