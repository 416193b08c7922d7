"""Stopping a training at a step of one's choice; starting processes that are to be stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cli
from nas.data.batches import train_batches
from nas.data.dataset import Dataset

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
    real = train_batches
    acts: Acts = []

    def batches(dataset: Dataset, size: int, seed: int, start: int, *rest: Any, **more: Any) -> Iterator[Any]:
        for step, batch in enumerate(real(dataset, size, seed, start, *rest, **more), start=start):
            if acts and acts[0][0] == step:
                acts.pop(0)[1]()
            yield batch

    monkeypatch.setattr("nas.training.loop.train_batches", batches)
    return acts


def start(words: list[str]) -> subprocess.Popen[str]:
    """Any command in a process group of its own."""
    return subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip


FORK = multiprocessing.get_context("fork")


class Forked:
    """A command of ``nas`` in a process group of its own, forked from this process: what it would take seconds to
    import is there. Used as a ``Popen``."""

    def __init__(self, *words: object) -> None:
        self._said = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115  (open until they are read)
        self._process = FORK.Process(target=self._run, args=(["nas", *map(str, words)],))
        self._process.start()

    def _run(self, argv: list[str]) -> None:
        os.setsid()
        for number, file in enumerate(self._said, start=1):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = argv
        cli.main()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.join()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said on its standard output and on its standard error, once it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            pytest.fail(f"not ended in {timeout} s")
        for file in self._said:
            file.seek(0)
        out, err = (file.read() for file in self._said)
        return out, err


def wait_for(process: subprocess.Popen[str] | Forked, path: Path) -> None:
    """Until the process has written a file."""
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists(), process.communicate()[1] if process.poll() is not None else "not in time"
