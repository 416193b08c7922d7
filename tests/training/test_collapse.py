"""The watch for collapse, by itself and in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.events import Event, Warned
from nas.store.files import load_tensors, save_tensors
from nas.store.run import Run
from nas.training import checkpoint, collapse
from nas.training import loop as train
from nas.training.collapse import Guard, Health
from nas.training.config import TrainConfig
from nas.training.loop import Interrupted
from nas.training.strategies.base import Pass
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.errors import UserError
from tests.support.long_forms import long_form
from tests.support.small_runs import (
    TWO_EVALUATIONS,
    assert_same_run,
    lower_patience,
    read_metrics,
    train_run,
    warnings_in,
    watched_config,
)
from tests.support.stopping import Acts, Killed, interrupt, kill

TINY = get_space("mbv3-tiny")


def _after(losses: list[float], constant: float = 2.0) -> Health:
    health = Health()
    for loss in losses:
        health = health.after(loss, constant)
    return health


def test_the_smoothed_loss_is_a_weighted_mean() -> None:
    losses = np.random.default_rng(0).uniform(0, 3, 30)
    weights = 0.95 ** np.arange(29, -1, -1)
    health = _after(losses.tolist())
    assert health.smoothed / health.weight == pytest.approx(float((weights * losses).sum() / weights.sum()))


def test_collapse_is_a_loss_that_rose_to_the_constant_answers_and_stays() -> None:
    """It was learned for 100 steps, at 1. Smoothed, the loss is above 0.98 * 2 once 0.95^n <= 0.04, after 63 steps at
    2, and then must stay there for 50, that one counted."""
    learnt = [1.0] * 100
    assert not _after(learnt + [2.0] * (63 + 48)).collapsed
    assert _after(learnt + [2.0] * (63 + 49)).collapsed
    assert _after(learnt + [1e6] * 80).collapsed


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 1000,
        [9.0] * 500 + [2.0] * 500,
        [1.0] * 10 + [2.0] * 500,
        [1.0] * 200 + [1e9] + [1.0] * 200,
        [1.0] * 200 + [2.0] * 80 + [1.0] * 50 + [2.0] * 80,
        [0.1] * 300 + [1.9] * 500,
    ],
    ids=["never learned", "a bad start", "learned too briefly", "one bad batch", "it came back", "worse, not nothing"],
)
def test_no_collapse(losses: list[float]) -> None:
    health = Health()
    for loss in losses:
        health = health.after(loss, 2.0)
        assert not health.collapsed


def test_good_states_keep_most_of_what_was_gained() -> None:
    assert not _after([3.0] * 50).good(2.0)
    learnt = [1.0] * 200
    assert _after(learnt).good(2.0)
    assert _after(learnt + [1.2] * 300).good(2.0)
    assert not _after(learnt + [1.3] * 300).good(2.0)


def test_students_and_subnets_of_little_weight_do_not_count() -> None:
    guard = Guard(2.0, 3, 1000, {})
    passes = (Pass(TINY.largest, "teacher"), Pass(TINY.smallest, "student"), Pass(TINY.smallest, "label", 0.25))
    guard.see(passes, [1.0, 0.0, 2.0])
    assert guard.health.smoothed / guard.health.weight == pytest.approx((1 + 0.25 * 2) / 1.25)


def test_good_states_are_kept_at_fixed_steps() -> None:
    guard = Guard(2.0, 3, 4000, {"weight": 1.0, "smoothed": 1.0, "gained": 1.0})
    assert [step for step in range(1, 801) if guard.keeps(step)] == [200, 400, 600, 800]
    assert not Guard(2.0, 0, 4000, dict(vars(guard.health))).keeps(200)


def test_every_way_back_halves_the_rate() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.4)]
    optimizer = torch.optim.SGD(groups)
    Guard(2.0, 3, 100, {}).slow(optimizer)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.4]
    Guard(2.0, 3, 100, {"rollbacks": 2}).slow(optimizer)
    assert [g["lr"] for g in optimizer.param_groups] == [0.025, 0.1]


CLIFF = range(60, 70)
"""Steps at which a learning rate above 0.05 is a thousand times too high."""


@pytest.fixture
def photos(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run that is watched with little patience."""
    lower_patience(monkeypatch)
    return photos


@pytest.fixture
def cliff(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A run that collapses unless its learning rate is below ``cliff["limit"]`` at :data:`CLIFF`."""
    schedule, slow = train.make_schedule, Guard.slow
    there, limit = [0], {"limit": 0.05}

    def scheduled(*arguments: Any) -> Any:
        scheduler = schedule(*arguments)
        update = scheduler.step_update

        def step_update(step: int) -> None:
            there[0] = step
            update(step)

        scheduler.step_update = step_update
        return scheduler

    def slowed(guard: Guard, optimizer: torch.optim.Optimizer) -> None:
        slow(guard, optimizer)
        for group in optimizer.param_groups:
            if there[0] in CLIFF and group["lr"] > limit["limit"]:
                group["lr"] *= 1000

    monkeypatch.setattr(train, "make_schedule", scheduled)
    monkeypatch.setattr(Guard, "slow", slowed)
    return limit


@pytest.mark.parametrize("often", long_form([False], [True]))
def test_a_collapsed_run_goes_back_and_recovers_stopped_or_not(
    photos: Path, tmp_path: Path, cliff: dict[str, float], at_steps: Acts, often: bool
) -> None:
    """Stopped at its last step; and killed after it, with nothing saved since. ``often``: stopped before it, in the
    midst and after it, too."""
    config = watched_config(photos, ema=0.9)
    straight, stopped = Run(tmp_path / "straight"), Run(tmp_path / "stopped")
    (warning,) = warnings_in(train_run(straight, config, TWO_EVALUATIONS))
    assert "training collapsed by step" in warning
    assert warning.endswith("continuing from step 60 with 0.5 of the learning rate")
    last = [line for line in read_metrics(straight) if "loss" in line]
    assert [line["step"] for line in last] == [20, 40, 60, 80, 100, 120]  # none of the collapse is left
    assert [line.get("rollbacks", 0) for line in last] == [0, 0, 0, 1, 1, 1]
    assert last[-1]["lr_factor"] == 0.5
    assert last[-1]["loss"] < 0.8 * np.log(3)
    assert not straight.good.exists()

    collapse = int(warning.split("by step ")[1].split(":")[0])
    at_steps += [(collapse - 1, interrupt), (90, kill)]
    if often:
        at_steps[:0] = [(35, interrupt), (67, interrupt)]
        at_steps[3:3] = [(62, interrupt)]
    expected = len(at_steps)
    warnings, stops = [], 0
    while True:
        reports: list[Event] = []
        try:
            train_supernet(stopped, config, TWO_EVALUATIONS, reports.append)
            break
        except (Interrupted, Killed):
            stops += 1
        finally:
            warnings += warnings_in(reports)
    assert stops == expected
    assert warnings == [warning]
    assert_same_run(stopped, straight)


def test_it_gives_up_after_so_many_times(photos: Path, tmp_path: Path, cliff: dict[str, float]) -> None:
    cliff["limit"] = 0.0
    run = Run(tmp_path / "run")
    reports: list[Event] = []
    with pytest.raises(UserError, match=r"gone back 2 times, to 0\.25 of the learning rate; train again .* lower `lr`"):
        train_supernet(run, watched_config(photos, rollbacks=2), TWO_EVALUATIONS, reports.append)
    went = [event.text.split("continuing ")[1] for event in reports if isinstance(event, Warned)]
    assert went == [f"from step 60 with {factor} of the learning rate" for factor in (0.5, 0.25)]
    assert checkpoint.read(run.good).step == 60
    assert not run.supernet.exists()


@pytest.mark.long
def test_unwatched_it_trains_to_its_end(photos: Path, tmp_path: Path, cliff: dict[str, float]) -> None:
    """The run that goes back where it is watched, see above."""
    run = Run(tmp_path / "run")
    assert warnings_in(train_run(run, watched_config(photos, rollbacks=0), TWO_EVALUATIONS)) == []
    lines = [line for line in read_metrics(run) if "loss" in line]
    assert [line["step"] for line in lines] == [20, 40, 60, 80, 100, 120]
    assert not any("rollbacks" in line for line in lines)
    assert not run.good.exists()


def test_a_damaged_good_state_is_named(photos: Path, tmp_path: Path, cliff: dict[str, float], at_steps: Acts) -> None:
    run = Run(tmp_path / "run")

    def damage() -> None:
        run.good.write_bytes(run.good.read_bytes()[:-99])

    at_steps.append((66, damage))
    with pytest.raises(UserError, match=r"checkpoint\.good\.safetensors is damaged"):
        train_run(run, watched_config(photos), TWO_EVALUATIONS)


@pytest.mark.long
def test_runs_continue_from_checkpoints_without_health(photos: Path, tmp_path: Path, at_steps: Acts) -> None:
    """They are older than the watch, and so are runs without a good state."""
    config = watched_config(photos, epochs=10.0)
    run, straight = Run(tmp_path / "run"), Run(tmp_path / "straight")
    train_run(straight, config, TWO_EVALUATIONS)
    unwatched = Run(tmp_path / "unwatched")
    train_run(unwatched, replace(config, rollbacks=0), TWO_EVALUATIONS)
    assert_same_run(unwatched, straight)  # the watch of a run that does not collapse changes nothing
    at_steps.append((30, interrupt))
    with pytest.raises(Interrupted):
        train_run(run, config, TWO_EVALUATIONS)
    tensors, metadata = load_tensors(run.checkpoint)
    assert metadata.pop("health")["gained"] > 0
    save_tensors(run.checkpoint, tensors, metadata)
    run.good.unlink()
    assert warnings_in(train_run(run, config, TWO_EVALUATIONS)) == []
    assert_same_run(run, straight)


@pytest.mark.long
def test_training_as_usual_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded data: no step counts as lost after it has learned."""
    monkeypatch.setattr(collapse, "PATIENCE", 10)
    seen: list[Health] = []
    after = Health.after

    def noted(health: Health, loss: float, constant: float) -> Health:
        seen.append(after(health, loss, constant))
        assert constant == pytest.approx(np.log(10), abs=1e-3)
        return seen[-1]

    monkeypatch.setattr(Health, "after", noted)
    config, engine = TrainConfig(strategy="random", epochs=0.25), replace(TWO_EVALUATIONS, evaluations=1)
    assert warnings_in(train_run(Run(tmp_path / "run"), config, engine)) == []
    assert seen[-1].learnt > 10
    assert {health.lost for health in seen} == {0}
