"""Small supernets, batches and training runs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nas.events import Event
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.step import StepInput
from nas.workflows.train import train_supernet
from search_spaces import get_space
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")
RESOURCES = Resources(workers=0, save_seconds=1e9, evaluations=1)
CONVNEXT = get_space("timm:convnext_atto:resolution=32,48")  # layer norm: images do not see each other
PLAIN = Loss()


def short_config(photos: Path, **more: Any) -> TrainConfig:
    """Half an epoch of batches of 4 images."""
    return TrainConfig(source=str(photos), epochs=0.5, batch_size=4, **{"strategy": "random", **more})


def train_run(run: Run, config: TrainConfig, resources: Resources = RESOURCES) -> list[Event]:
    """Train a run to its end; everything that it told."""
    reports: list[Event] = []
    train_supernet(run, config, resources, reports.append)
    return reports


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


def gradients_of(net: Supernet) -> dict[str, torch.Tensor]:
    """Copies of the gradients that there are."""
    return {n: p.grad.clone() for n, p in net.model.named_parameters() if p.grad is not None}


def random_batch(n: int, side: int = 28, channels: int = 1, classes: int = 3) -> StepInput:
    """Noise with random labels, a function of ``n``."""
    draw = torch.Generator().manual_seed(n)
    return StepInput(torch.randn(n, channels, side, side, generator=draw), torch.randint(classes, (n,), generator=draw))
