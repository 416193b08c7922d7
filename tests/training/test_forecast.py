"""Time and memory of a run, told before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.data.opening import open_dataset
from nas.events import Noted
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.training.rehearsal import forecast
from nas.training.rehearsal.forecast import kept_bytes
from nas.workflows import train as training
from search_spaces.architecture import Interface
from tests.support.small_runs import (
    RESOURCES,
    TINY,
    are_equal,
    short_config,
    train_run,
    weights_of,
)


def test_kept_bytes_of_a_network_small_enough_to_count() -> None:
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.Sigmoid())
    images = torch.randn(7, 10)
    with kept_bytes([*net.parameters(), images]) as count:
        net(images).sum()
    assert sorted(count()) == [
        4 * 7 * 20,
        4 * 7 * 30,
    ]  # the ReLU's result, which the next layer needs too, and the sigmoid's


@pytest.mark.parametrize(("optimizer", "slots"), [("momentum", 0), ("nesterov", 1), ("adamw", 2)])
def test_forecast_counts_weights_gradients_slots_and_average(
    photos: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, slots: int
) -> None:
    monkeypatch.setattr(forecast, "time_step", lambda *a: 0.5)
    monkeypatch.setattr(forecast, "time_evaluation", lambda *a: 3.0)
    config = short_config(photos, optimizer=optimizer, momentum=0.0 if optimizer == "momentum" else 0.9)
    dataset = open_dataset(str(photos))
    found = forecast.forecast(config, dataset, RESOURCES)
    bigger = forecast.forecast(replace(config, batch_size=8), dataset, RESOURCES)
    averaged = forecast.forecast(replace(config, ema=0.9), dataset, RESOURCES)
    halved = forecast.forecast(replace(config, batch_size=8, accumulate=2), dataset, RESOURCES)
    model = Supernet(TINY, Interface(3, 3)).model
    parameters = 4 * sum(p.numel() for p in model.parameters())
    state = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    image = 4 * 3 * 28 * 28
    activations = bigger.bytes - found.bytes - 4 * image
    rest = found.bytes - 4 * image - activations  # activations of 4 more images are those of 4
    assert rest == pytest.approx(state + parameters * (1 + slots), rel=0.02)
    assert averaged.bytes - found.bytes == pytest.approx(state, rel=0.01)
    assert bigger.bytes - halved.bytes == pytest.approx(activations, rel=0.01)
    assert found.steps == 4
    assert found.seconds == 4 * 0.5 + 3


def test_a_forecast_changes_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = short_config(photos, mixup=0.2)
    plain, forecasted = Run(tmp_path / "plain"), Run(tmp_path / "forecasted")
    assert not any(isinstance(e, Noted) and "MB of tensors" in e.text for e in train_run(plain, config))
    monkeypatch.setattr(training, "WORTH_A_FORECAST", 1)
    monkeypatch.setattr(forecast, "MOST", 3)
    reports = train_run(forecasted, config)
    assert any(isinstance(e, Noted) and "MB of tensors" in e.text for e in reports)
    assert are_equal(weights_of(forecasted), weights_of(plain))
    assert plain.read() == forecasted.read()


def test_a_run_that_does_not_fit_is_not_tried(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(forecast, "time_step", lambda *a: pytest.fail("it would not fit"))
    found = forecast.forecast(short_config(photos), open_dataset(str(photos)), RESOURCES)
    assert found.seconds is None
    message = forecast.shortage(found)
    assert message is not None
    assert "`batch_size`" in message
    assert forecast.shortage(replace(found, free=None)) is None


def test_timed_steps_spread_over_the_run() -> None:
    points = [forecast.spread(i) for i in range(7)]
    assert sorted(points) == [i / 8 for i in range(1, 8)]
    assert sorted(points[:3]) == [0.25, 0.5, 0.75]


def test_free_memory_is_plausible() -> None:
    free = forecast.free_bytes("cpu")
    assert free is not None
    assert 1e6 < free < 1e15


def test_forecast_in_words() -> None:
    words = forecast.describe(forecast.Forecast(10, 7200.0, 2_500_000_000, None))
    assert words == "about 2.0 h, 2.5 GB of tensors"
    assert forecast.describe(forecast.Forecast(10, 600.0, 3_000_000, None)) == "about 10 min, 3 MB of tensors"
