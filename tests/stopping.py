"""Stopping a training at a step of one's choice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nas import data

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
