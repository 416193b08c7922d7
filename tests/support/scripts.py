"""Running Python files in this process."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest


def run_script(script: Path, *words: object) -> dict[str, Any]:
    """Run a Python file with arguments: its variables, and what it ``printed``."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", [str(script), *map(str, words)])
        found = runpy.run_path(str(script))
    return found | {"printed": out.getvalue()}
