"""The learning rate: a range test, scaling with the batch."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.opening import open_dataset
from nas.events import Warned
from nas.store.run import Run
from nas.training.config import TrainConfig, peak_lr
from nas.training.rehearsal import lr_finder
from search_spaces.errors import UsageError
from tests.support.small_runs import (
    RESOURCES,
    are_equal,
    short_config,
    stop_at,
    train_run,
    weights_of,
)
from tests.support.stopping import Acts


def test_smoothed_is_a_weighted_mean_of_what_came_before() -> None:
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    for end in range(1, 6):
        weights = [0.8 ** (end - 1 - i) for i in range(end)]
        expected = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert lr_finder.smooth(losses)[end - 1] == pytest.approx(expected)


def test_the_rate_taken_is_a_share_of_the_lowest_losss() -> None:
    rates = [10.0**k for k in range(-5, 1)]
    losses = [2.0, 2.0, 1.5, 0.5, 9.0, math.nan]
    assert lr_finder.pick(rates, losses) == pytest.approx(0.01 / 3, rel=0.02)


def test_the_range_test_stops_where_a_known_problem_diverges(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates rise by a constant factor and the test ends early; random generators are left alone."""
    dataset = open_dataset(str(photos))
    curves: list[tuple[list[float], list[float]]] = []
    pick = lr_finder.pick
    monkeypatch.setattr(lr_finder, "pick", lambda *curve: curves.append(curve) or pick(*curve))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = lr_finder.find_lr(short_config(photos), dataset, RESOURCES, 25)
    assert torch.equal(torch.get_rng_state(), before)
    ((rates, losses),) = curves
    ratios = np.divide(rates[1:], rates[:-1])
    np.testing.assert_allclose(ratios, (10 / 1e-5) ** (1 / 24), rtol=1e-6)
    assert 1e-5 <= found < 10 / 3
    smooth = lr_finder.smooth(losses)
    assert all(value <= 1.5 * min(smooth[: i + 1]) for i, value in enumerate(smooth[:-1]))
    assert found == lr_finder.find_lr(short_config(photos), dataset, RESOURCES, 25)


def test_a_rate_that_was_found_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_steps: Acts
) -> None:
    config = short_config(photos, lr_auto=True)
    calls = []

    def find(*arguments: Any) -> float:
        calls.append(arguments[3])
        return 0.03

    monkeypatch.setattr(lr_finder, "find_lr", find)
    monkeypatch.setattr(lr_finder, "LEAST_STEPS", 0)
    monkeypatch.setattr(lr_finder, "range_steps", lambda steps: 5)
    found, given = Run(tmp_path / "found"), Run(tmp_path / "given")
    stop_at(2, found, config, at_steps)
    assert found.read().lr == 0.03
    train_run(found, config)
    assert calls == [5]
    train_run(given, replace(config, lr_auto=False, lr=0.03))
    assert are_equal(weights_of(found), weights_of(given))


def test_short_runs_take_the_usual_rate(photos: Path, tmp_path: Path) -> None:
    for optimizer in ("nesterov", "adamw"):
        run, config = Run(tmp_path / optimizer), short_config(photos, optimizer=optimizer)
        reports = train_run(run, replace(config, lr_auto=True))
        assert any(isinstance(e, Warned) and "too few to find a learning rate" in e.text for e in reports)
        assert run.read().lr == peak_lr(config)
    assert [lr_finder.range_steps(steps) for steps in (599, 600, 5000)] == [0, 60, 100]


def test_a_rate_scales_with_the_batch() -> None:
    config = TrainConfig(lr=0.1, base_batch=256, batch_size=64)
    assert lr_finder.scale_lr(config).lr == pytest.approx(0.025)
    assert lr_finder.scale_lr(replace(config, batch_size=512)).lr == pytest.approx(0.2)
    assert lr_finder.scale_lr(lr_finder.scale_lr(config)).lr == pytest.approx(0.025)
    assert lr_finder.scale_lr(replace(config, base_batch=0)).lr == 0.1
    assert lr_finder.parse_lr(" Auto") is None
    assert lr_finder.parse_lr("3e-2") == 0.03
    with pytest.raises(UsageError, match="a number, or auto"):
        lr_finder.parse_lr("fast")
