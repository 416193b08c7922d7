"""Work that is stopped or killed goes on, and ends with the same numbers as work that never stopped."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.candidates.candidate import Candidate
from nas.events import Warned
from nas.journal.journal import Journal
from nas.search.bounds import Bounds
from nas.search.config import SearchConfig
from nas.search.costs import CandidateCosts
from nas.search.search import search
from nas.store.run import Run
from nas.tasks.classification import Accuracy
from nas.training import loop as train
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.schema import to_json
from tests.support.cli_runs import invoke, write_photos
from tests.support.long_forms import long_form
from tests.support.small_runs import TWO_EVALUATIONS, assert_same_run, read_metrics, train_run
from tests.support.stopping import NAS, Acts, Forked, Killed, interrupt, kill, start, wait_for

pytestmark = pytest.mark.xdist_group("resume")  # what never stopped is trained once, by one process

SPACE = get_space("mbv3-tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 training images: 8 steps of 4 an epoch."""
    return write_photos(tmp_path_factory.mktemp("resume") / "photos", count=15)


Straight = Callable[..., Run]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """``straight(config, resources)``: a run of these settings that never stopped; tests change nothing in it."""

    @cache
    def trained(config: TrainConfig, resources: Resources = TWO_EVALUATIONS) -> Run:
        run = Run(tmp_path_factory.mktemp("straight") / "run")
        train_run(run, config, resources)
        return run

    return trained


def _config(photos: Path, **more: Any) -> TrainConfig:
    return TrainConfig(source=str(photos), epochs=1.0, batch_size=4, **more)


def _assert_same(run: Run, other: Run) -> None:
    assert_same_run(run, other)
    content, expected = run.read(), other.read()
    assert content.complete
    assert content == expected


@pytest.mark.parametrize(
    ("strategy", "ema", "optimizer"),  # every two settings meet
    [
        pytest.param("random", 0.0, "nesterov", marks=pytest.mark.long),
        ("random", 0.9, "adamw"),
        pytest.param("sandwich", 0.0, "adamw", marks=pytest.mark.long),
        pytest.param("sandwich", 0.9, "nesterov", marks=pytest.mark.long),
    ],
)
def test_stopped_three_times_or_never_is_the_same(
    photos: Path, straight: Straight, tmp_path: Path, at_steps: Acts, strategy: str, ema: float, optimizer: str
) -> None:
    lr = 0.1 if optimizer == "nesterov" else 0.003
    config = _config(photos, strategy=strategy, ema=ema, optimizer=optimizer, lr=lr)
    stopped = Run(tmp_path / "stopped")
    for step in (2, 3, 6):
        at_steps.append((step, interrupt))
        with pytest.raises(Interrupted):
            train_run(stopped, config, TWO_EVALUATIONS)
        assert not stopped.supernet.exists()
    train_run(stopped, config, TWO_EVALUATIONS)
    _assert_same(stopped, straight(config))


def test_augmentation_and_more_workers_change_nothing(
    photos: Path, straight: Straight, tmp_path: Path, at_steps: Acts
) -> None:
    config = _config(photos, augment="strong")
    stopped = Run(tmp_path / "stopped")
    at_steps.append((5, interrupt))
    with pytest.raises(Interrupted):
        train_run(stopped, config, TWO_EVALUATIONS)
    train_run(stopped, config, replace(TWO_EVALUATIONS, workers=1, save_seconds=0.0))
    _assert_same(stopped, straight(config))


@pytest.mark.parametrize("step", [0, 7], ids=["first", "last"])
def test_stopped_at_the_ends(photos: Path, straight: Straight, tmp_path: Path, at_steps: Acts, step: int) -> None:
    config = _config(photos)
    stopped = Run(tmp_path / "stopped")
    at_steps.append((step, interrupt))
    with pytest.raises(Interrupted):
        train_run(stopped, config, TWO_EVALUATIONS)
    train_run(stopped, config, TWO_EVALUATIONS)
    _assert_same(stopped, straight(config))


def test_killed_without_saving_goes_back_to_the_last_checkpoint(
    photos: Path, straight: Straight, tmp_path: Path, at_steps: Acts
) -> None:
    """Lines that ``metrics.jsonl`` is ahead of the checkpoint are not there twice; a half line is dropped."""
    config = replace(_config(photos), epochs=3.0)  # 24 steps: a loss at 20, an evaluation at 12
    killed = Run(tmp_path / "killed")
    at_steps.append((10, interrupt))
    with pytest.raises(Interrupted):
        train_run(killed, config, TWO_EVALUATIONS)
    at_steps.append((22, kill))
    with pytest.raises(Killed):
        train_run(killed, config, TWO_EVALUATIONS)
    assert [line["step"] for line in read_metrics(killed)] == [12, 20]
    with open(killed.metrics, "a") as file:
        file.write('{"step": 9, "ste')
    train_run(killed, config, TWO_EVALUATIONS)
    _assert_same(killed, straight(config))
    assert len(read_metrics(killed)) == 4


def test_a_damaged_checkpoint_costs_time_only(photos: Path, straight: Straight, tmp_path: Path, at_steps: Acts) -> None:
    config = _config(photos, ema=0.9)
    damaged = Run(tmp_path / "damaged")
    for step in (3, 5):
        at_steps.append((step, interrupt))
        with pytest.raises(Interrupted):
            train_run(damaged, config, TWO_EVALUATIONS)
    damaged.checkpoint.write_bytes(damaged.checkpoint.read_bytes()[:-1000])
    reports = train_run(damaged, config, TWO_EVALUATIONS)
    warnings = [event.text for event in reports if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]
    assert "step 4" in warnings[0]
    _assert_same(damaged, straight(config))


@pytest.mark.parametrize("moment", long_form(["before it is marked complete"], ["before the weights"]))
def test_killed_after_the_last_step(
    photos: Path, straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    config = _config(photos)
    expected, killed = straight(config), Run(tmp_path / "killed")
    real = train.save_trained

    def finish(*arguments: Any) -> None:
        if moment == "before it is marked complete":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_trained", finish)
        with pytest.raises(Killed):
            train_run(killed, config, TWO_EVALUATIONS)
    assert not killed.read().complete
    train_run(killed, config, TWO_EVALUATIONS)
    _assert_same(killed, expected)
    before = killed.supernet.stat().st_mtime_ns
    assert train_run(killed, config, TWO_EVALUATIONS) == []  # a finished run is left alone
    assert killed.supernet.stat().st_mtime_ns == before


# Whole processes

USUAL = replace(TWO_EVALUATIONS, evaluations=10)
"""What a command evaluates."""


def _words(photos: Path, run: Run) -> list[str]:
    return [
        "train-supernet", "--data", str(photos), "--out", str(run.path), "--epochs", "1", "--batch-size", "4",
        "--workers", "1", "--save-seconds", "0",
    ]  # fmt: skip


@pytest.mark.long
def test_ctrl_c_prints_the_command_that_goes_on(photos: Path, straight: Straight, tmp_path: Path) -> None:
    """Of a process of its own, with processes that load images."""
    stopped = Run(tmp_path / "with a space")
    process = start([*NAS, *_words(photos, stopped)])
    wait_for(process, stopped.checkpoint)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    (line,) = [line for line in error.splitlines() if "To resume: " in line]
    assert "Traceback" not in error
    assert not stopped.supernet.exists()
    name, *words = shlex.split(line.split("To resume: ")[1])
    assert name == "nas"
    assert words == _words(photos, stopped)
    again = invoke(*words)
    assert again.code == 0, again.err
    _assert_same(stopped, straight(_config(photos), USUAL))


@pytest.mark.parametrize("whole_group", long_form([True], [False]), ids=["with its workers", "alone"])
def test_kill_9(photos: Path, straight: Straight, tmp_path: Path, whole_group: bool) -> None:
    killed = Run(tmp_path / "killed")
    process = Forked(*_words(photos, killed))
    wait_for(process, killed.checkpoint)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    assert not killed.supernet.exists()
    again = invoke(*_words(photos, killed))  # at once: workers of the killed one may still be there
    assert again.code == 0, again.err
    _assert_same(killed, straight(_config(photos), USUAL))
    assert not list(killed.path.glob(".*.tmp"))


# Search


@pytest.fixture(scope="module")
def costs() -> CandidateCosts:
    return CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")


class Table:
    """Accuracies of a made-up supernet, which count their look-ups and can be killed after some."""

    def __init__(self) -> None:
        self.effect = np.random.default_rng(1).uniform(0, 0.01, len(SPACE.genes))
        self.searched: list[Candidate] = []
        self.left: float = np.inf

    def __call__(self, candidate: Candidate, split: str) -> Accuracy:
        if self.left <= 0:
            raise Killed
        self.left -= 1
        if split == "search":
            self.searched.append(candidate)
        vector = SPACE.encode(candidate.architecture)
        return Accuracy(int(5000 * (0.6 + vector @ self.effect)), 5000)


def _search(costs: CandidateCosts, path: Path, config: SearchConfig, table: Table) -> dict[str, Any]:
    journal = Journal(path / "journal.log", SPACE, "weights")
    result: dict[str, Any] = to_json(search(costs, config, journal, table, lambda entry: None))
    del result["seconds"]
    return result


@pytest.mark.parametrize("bounds", long_form([Bounds(latency_ms=1.5)], [Bounds()]), ids=["bounded", "free"])
def test_search_killed_again_and_again(costs: CandidateCosts, tmp_path: Path, bounds: Bounds) -> None:
    """Killed after every fifth measurement or so: the same result, and nothing is measured twice."""
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    config = SearchConfig("cortex-a72", "int8", 18, bounds)
    table = Table()
    expected = _search(costs, tmp_path / "straight", config, table)
    interrupted, kills = Table(), 0
    while True:
        interrupted.left = 5 + kills % 3
        before = len(interrupted.searched)
        try:
            found = _search(costs, tmp_path / "killed", config, interrupted)
            break
        except Killed:
            kills += 1
            assert len(Journal(tmp_path / "killed" / "journal.log", SPACE, "weights")) == len(interrupted.searched)
            if len(interrupted.searched) == before:
                interrupted.left = np.inf  # all is searched; what is left is the test split, remembered elsewhere
                found = _search(costs, tmp_path / "killed", config, interrupted)
                break
    assert kills > 3
    assert found == expected
    assert interrupted.searched == table.searched
    assert len(set(interrupted.searched)) == len(interrupted.searched)


def test_a_second_search_killed_again_and_again(costs: CandidateCosts, tmp_path: Path) -> None:
    """A search that starts from an earlier one's measurements goes on from those, not from what it added itself."""
    config = SearchConfig("cortex-a72", "int8", 8, Bounds(latency_ms=1.5))
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
        _search(costs, tmp_path / name, SearchConfig("host", "int8", 8), Table())
    table, interrupted = Table(), Table()
    expected = _search(costs, tmp_path / "straight", config, table)
    for _ in table.searched[::4]:
        interrupted.left = 3
        with pytest.raises(Killed):
            _search(costs, tmp_path / "killed", config, interrupted)
    interrupted.left = np.inf
    assert _search(costs, tmp_path / "killed", config, interrupted) == expected
    assert interrupted.searched == table.searched
