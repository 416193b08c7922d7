"""Small supernets, batches and training runs for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.events import Event, Warned
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.training import collapse
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.step import StepInput
from nas.workflows.train import train_supernet
from search_spaces import get_space
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")
RESOURCES = Resources(workers=0, save_seconds=1e9, evaluations=1)
TWO_EVALUATIONS = Resources(workers=0, save_seconds=1e9, evaluations=2)
CONVNEXT = get_space("timm:convnext_atto:resolution=32,48")  # layer norm: images do not see each other
PLAIN = Loss()


def short_config(photos: Path, **more: Any) -> TrainConfig:
    """Half an epoch of batches of 4 images."""
    return TrainConfig(
        source=str(photos), epochs=0.5, batch_size=4, **{"space": TINY.name, "strategy": "random", **more}
    )


def watched_config(photos: Path, **more: Any) -> TrainConfig:
    """30 epochs of batches of 8 images: long enough to learn, collapse and recover."""
    usual = {"space": TINY.name, "epochs": 30.0, "batch_size": 8, "warmup": 0.01, "strategy": "random"}
    return TrainConfig(source=str(photos), **{**usual, **more})


def lower_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collapse is seen after a tenth of the usual steps, and good states are kept later."""
    monkeypatch.setattr(collapse, "PATIENCE", 10)
    monkeypatch.setattr(collapse, "KEEP", 0.7)


def train_run(run: Run, config: TrainConfig, resources: Resources = RESOURCES) -> list[Event]:
    """Train a run to its end; everything that it told."""
    reports: list[Event] = []
    train_supernet(run, config, resources, reports.append)
    return reports


def warnings_in(events: list[Event]) -> list[str]:
    """Texts of the warnings among what a run told."""
    return [event.text for event in events if isinstance(event, Warned)]


def stop_at(step: int, run: Run, config: TrainConfig, at_steps: Acts) -> None:
    """Train until SIGINT arrives in ``step``; the state is saved."""
    at_steps.append((step, interrupt))
    with pytest.raises(Interrupted):
        train_run(run, config)


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """Tensors of a trained run."""
    return load_tensors(run.supernet)[0]


def are_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether tensors of the same names are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` without the times that are left."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "eta_s"} for line in lines]


def assert_same_run(run: Run, other: Run) -> None:
    """The same weights bit for bit, and the same metrics."""
    ours, theirs = weights_of(run), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert read_metrics(run) == read_metrics(other)


def gradients_of(net: Supernet) -> dict[str, torch.Tensor]:
    """Copies of the gradients that there are."""
    return {n: p.grad.clone() for n, p in net.model.named_parameters() if p.grad is not None}


def random_batch(n: int, side: int = 28, channels: int = 1, classes: int = 3) -> StepInput:
    """Noise with random labels, a function of ``n``."""
    draw = torch.Generator().manual_seed(n)
    return StepInput(torch.randn(n, channels, side, side, generator=draw), torch.randint(classes, (n,), generator=draw))
