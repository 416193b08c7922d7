"""Running commands in this process, on copies of one small finished run."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

import cli

CLASSES = ("apple", "pear", "plum")
TRAIN = ("train-supernet", "--batch-size", "16", "--epochs", "2", "--workers", "0", "--save-seconds", "0")
SEARCH = ("search", "--measurements", "4")


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one or two lines of an error, after checking that there is nothing else."""
        assert not self.out, self.out
        lines = self.err.strip().splitlines()
        assert 1 <= len(lines) <= 2, self.err
        assert lines[0].startswith("error: "), self.err
        assert not re.search(r"Traceback|this is a bug", self.err), self.err
        return self.err

    @property
    def json(self) -> Any:
        """Standard output as one strict JSON document."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def invoke(*words: object) -> Result:
    """Run a command in this process, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["nas", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ending:
            cli.main()
    finally:
        sys.argv = argv
    return Result(int(ending.value.code or 0), out.getvalue(), err.getvalue())


def write_photos(folder: Path, classes: tuple[str, ...] = CLASSES, count: int = 20, mode: str = "RGB") -> Path:
    """Photos of 32 x 32; a class has its own colour."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        colour = np.random.default_rng(label).integers(40, 200, 3)
        for i in range(count):
            pixels = np.clip(colour + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i:03d}.jpg")
    return folder


@pytest.fixture(scope="session")
def finished(own_cache: Path) -> Path:
    """A folder with ``photos`` and a ``run`` that was trained, searched and exported; tests change nothing in it.

    Made by one of the processes that share the tests, for all.
    """
    folder, made = own_cache.parent / "finished", own_cache.parent / "finished.made"
    with FileLock(own_cache.parent / "finished.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            write_photos(folder / "photos")
            for words in (
                (*TRAIN, "--data", folder / "photos", "--out", folder / "run"),
                (*SEARCH, "--run", folder / "run"),
                ("export", "--run", folder / "run"),
            ):
                result = invoke(*words)
                assert result.code == 0, result.err
            made.touch()
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the finished run; its data stay where they were."""
    shutil.copytree(finished / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the lock's."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def train_words(finished: Path) -> tuple[object, ...]:
    """The command that trained the finished run."""
    return (*TRAIN, "--data", finished / "photos", "--out", "run")


def unfinish(run: Path) -> None:
    """As if training had been stopped after its last checkpoint."""
    for name in ("supernet.safetensors", "journal.log", "search-cortex-a72.json"):
        (run / name).unlink()
    edit_json(run / "run.json", lambda c: c | {"complete": False})


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
