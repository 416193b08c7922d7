"""Running Python files in this process."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ran:
    """How a script ended, and what it said."""

    code: int
    out: str
    err: str


def run_script(script: Path, *words: object) -> Ran:
    """Run a Python file with arguments, as its own main program."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [str(script), *map(str, words)])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as ending:
            code = ending.code or 0
    if isinstance(code, str):  # what sys.exit prints
        return Ran(1, out.getvalue(), f"{err.getvalue()}{code}\n")
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def saved(script: Path, folder: Path, *words: object) -> tuple[Ran, NDArray[np.float32], NDArray[np.float32]]:
    """A script's end, and the network's inputs and outputs that it saved, ``[n, ...]``."""
    ran = run_script(script, *words, "--save", folder / "saved.npz")
    with np.load(folder / "saved.npz") as found:
        return ran, found["inputs"], found["outputs"]
