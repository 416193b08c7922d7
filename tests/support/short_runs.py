"""Short trainings: their settings, the warnings that they tell, and whether two of them are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.events import Event, Warned
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.training import collapse
from nas.training.config import Resources, TrainConfig
from nas.workflows.train import train_supernet

ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=2)


def impatient_photos(photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """32 training images: 4 steps of 8 an epoch. A tenth of the usual patience."""
    monkeypatch.setattr(collapse, "PATIENCE", 10)
    monkeypatch.setattr(collapse, "KEEP", 0.7)
    return photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(28, 28))


def short_config(photos: Path, **more: Any) -> TrainConfig:
    """Settings of 30 epochs in batches of 8."""
    usual = {"epochs": 30.0, "batch_size": 8, "warmup": 0.01, "strategy": "random"}
    return TrainConfig(source=str(photos), **{**usual, **more})


def train_for_warnings(run: Run, config: TrainConfig, resources: Resources = ENGINE) -> list[str]:
    """Train, and return the warnings of the run."""
    reports: list[Event] = []
    train_supernet(run, config, resources, reports.append)
    return [event.text for event in reports if isinstance(event, Warned)]


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` without the times that are left."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "eta_s"} for line in lines]


def assert_same_run(run: Run, other: Run) -> None:
    """The same weights to the bit, and the same metrics."""
    ours, theirs = load_tensors(run.supernet)[0], load_tensors(other.supernet)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert read_metrics(run) == read_metrics(other)
