"""Stopping a training at a step of one's choice; starting processes that are to be stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas import data

NAS = [sys.executable, "-c", "import cli; cli.main()"]
Acts = list[tuple[int, Callable[[], None]]]


class Killed(BaseException):
    """Stands for a process that ends in the middle, saving nothing."""


def interrupt() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def kill() -> None:
    raise Killed


@pytest.fixture
def at_steps(monkeypatch: pytest.MonkeyPatch) -> Acts:
    """``(step, act)`` in this list: the first one acts, once, when the batch of its step is fetched."""
    real = data.train_batches
    acts: Acts = []

    def batches(dataset: data.Dataset, size: int, seed: int, start: int, *rest: Any, **more: Any) -> Iterator[Any]:
        for step, batch in enumerate(real(dataset, size, seed, start, *rest, **more), start=start):
            if acts and acts[0][0] == step:
                acts.pop(0)[1]()
            yield batch

    monkeypatch.setattr(data, "train_batches", batches)
    return acts


def start(words: list[str]) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    return subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    """Until the process has written a file."""
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists(), process.communicate()[1] if process.poll() is not None else "not in time"
