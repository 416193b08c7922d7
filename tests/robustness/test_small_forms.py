"""The programs of this folder with few kills and faults, in processes that are forked from this one."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.robustness import faults, kill_stress
from tests.support.cli_runs import SEARCH, invoke
from tests.support.long_forms import long_form
from tests.support.stopping import Forked


class Killable(Forked):
    """A forked command that can be waited for, for some seconds."""

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self.returncode is None:
            raise kill_stress.subprocess.TimeoutExpired("nas", timeout or 0.0)


@pytest.fixture
def root(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photos of the finished run."""
    (tmp_path / "photos").symlink_to(finished / "photos")
    for log in ("plain.log", "search.log"):
        (tmp_path / log).touch()
    monkeypatch.setattr(kill_stress, "start", lambda words, log: Killable(*words))
    monkeypatch.setattr(faults, "execute", lambda words: run_here(words))
    monkeypatch.setattr(faults, "SEARCH", (*SEARCH, "--target", faults.TARGET))  # the finished run's: what must be
    return tmp_path


def run_here(words: list[str]) -> tuple[int, str]:
    """A command in this process: exit code and messages."""
    result = invoke(*words)
    return result.code, result.err


def within(saved: float, seconds: float, kills: int) -> tuple[float, float]:
    """Seconds after which a kill finds the command at work, so that it need not run again."""
    return 0.8 * saved, max(0.8 * saved, saved + (seconds - saved) / 2)


@pytest.mark.parametrize("command", long_form(["train-supernet"], ["search"]))
def test_a_killed_command_loses_nothing(
    root: Path, finished: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_stress, "window", within)
    if command == "search":
        tally = kill_stress.stress_search(root, finished / "run", 4, 1, random.Random(0), ("--compare", "none"))
    else:
        flags = ["--epochs", "1", "--save-seconds", "0", "--workers", "0"]
        tally = kill_stress.stress_training(root, "plain", flags, 1, random.Random(0))
    assert not tally.failures
    assert tally.kills == 1


@pytest.mark.parametrize("fault", ["disk", "read-only"])
def test_a_disk_that_takes_no_more_loses_nothing(root: Path, finished: Path, fault: str) -> None:
    bench = faults.Bench(root, finished / "photos", root / "whole", random.Random(0))
    shutil.copytree(finished / "run", bench.whole, ignore=shutil.ignore_patterns(".*"))
    (command,) = {"disk": ["search"], "read-only": ["export"]}[fault]
    strike: Any = faults.FAULTS[fault]
    try:
        outcomes = strike(bench, 1, (command,))
    except faults.Impossible as error:
        pytest.skip(str(error))
    for outcome in outcomes.values():
        assert not outcome.lost
        assert outcome.recovered == outcome.times == 1
