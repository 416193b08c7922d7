"""Which versions of what produced a file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

NAS = "nas-supernet"
"""Name of this project's distribution."""


def versions() -> dict[str, str]:
    """Versions of the packages that, beside its settings, decide the content of a run's files."""
    return {"nas": version(NAS), "python": platform.python_version(), **libraries()}


def libraries() -> dict[str, str]:
    """Versions of the libraries that networks are made with."""
    return {name: version(name) for name in ("torch", "timm")}


def version(name: str) -> str:
    """The version of a distribution, or that there is none."""
    return installed(name) or "not installed"


def installed(name: str) -> str | None:
    """The version of a distribution; None: it isn't installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_words(recorded: Mapping[str, str] | None) -> str:
    """Versions that a file records; None: it records none, as files of earlier versions."""
    return "not recorded" if recorded is None else ", ".join(f"{name} {text}" for name, text in recorded.items())
