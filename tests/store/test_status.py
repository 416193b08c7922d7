"""The list of runs: where each stands, from its files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nas.store.records import DataInfo, RunRecord
from nas.store.run import Run, latest
from nas.store.status import list_runs, next_after_report, next_after_search, next_command, read_status
from tests.support.cli_runs import invoke

INFO = DataInfo("embedded", ("a", "b"), 1, (0.5,), (0.5,), 28, {"train": 8, "search": 2, "test": 2}, 1.0)


def make(root: Path, name: str, age: int = 0, **content: Any) -> Run:
    """A run directory with little in it, last written ``age`` seconds before the others."""
    run = Run(root / name)
    run.path.mkdir(parents=True)
    config = {"space": "mbv3-tiny", "source": "embedded"}
    run.write(RunRecord(**{"config": config, "data": INFO, "complete": False} | content))
    os.utime(run.config, (1e9 - age, 1e9 - age))
    return run


def trained(root: Path, name: str, age: int = 0) -> Run:
    run = make(root, name, age, complete=True, steps=50)
    run.supernet.write_bytes(b"weights")
    return run


def test_the_newest_is_first_and_is_the_one_that_commands_take(tmp_path: Path) -> None:
    for name, age in (("old", 20), ("new", 0), ("middle", 10)):
        make(tmp_path, name, age)
    names = [Path(row.run).name for row in list_runs(tmp_path)]
    assert names == ["new", "middle", "old"]
    assert latest(tmp_path).path.name == names[0]


def test_a_run_in_training_tells_its_last_whole_line(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    assert (read_status(run).step, read_status(run).steps) == (0, None)
    lines = [json.dumps({"step": step, "steps": 5000, "loss": 1.0}) for step in range(20, 4020, 20)]
    run.metrics.write_text("\n".join(lines) + '\n{"step": 4020, "st')
    found = read_status(run)
    assert (found.state, found.step, found.steps) == ("training", 4000, 5000)


def test_what_lies_in_a_run_is_listed(tmp_path: Path) -> None:
    run = trained(tmp_path, "a")
    for path in ("search-cortex-a72.json", "search-host.json", "search-host.plan.json",
                 "export/host-1-int8/architecture.json", "export/unfinished/model.safetensors",
                 "finetune/1-int8-abc/run.json"):  # fmt: skip
        (run.path / path).parent.mkdir(parents=True, exist_ok=True)
        (run.path / path).write_text("{}")
    found = read_status(run)
    assert (found.state, found.step, found.steps) == ("trained", 50, 50)
    assert found.searched == ("cortex-a72", "host")
    assert found.exported == ("host-1-int8",)
    assert found.finetuned == ("1-int8-abc",)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"config": {}}'])
def test_a_damaged_run_is_one_line_among_the_others(tmp_path: Path, text: str) -> None:
    make(tmp_path, "bad").config.write_text(text)
    trained(tmp_path, "good", age=100)
    states = {Path(row.run).name: (row.state, row.problem) for row in list_runs(tmp_path)}
    assert states["good"] == ("trained", "")
    assert states["bad"][0] == "damaged"
    assert "run.json is damaged" in states["bad"][1]


def test_weights_that_are_gone(tmp_path: Path) -> None:
    run = trained(tmp_path, "a")
    run.supernet.unlink()
    assert "supernet.safetensors is gone" in read_status(run).problem


def test_a_run_that_somebody_works_on(tmp_path: Path) -> None:
    run = trained(tmp_path, "a")
    assert not read_status(run).busy
    for hold in (run.locked, run.joined):
        with hold():
            assert read_status(run).busy
        assert not read_status(run).busy
    (run.path / ".owner").write_text("999999999")  # of a process that was killed
    assert not read_status(run).busy


def test_the_next_command_follows_the_newest_run(tmp_path: Path) -> None:
    assert str(next_command(list_runs(tmp_path))) == "nas train-supernet"
    run = trained(tmp_path, "a", age=10)
    assert str(next_command(list_runs(tmp_path))) == f"nas search --run {run.path}"
    run.search("host").write_text("{}")
    assert str(next_command(list_runs(tmp_path))) == f"nas report --run {run.path}"
    newer = make(tmp_path, "b")
    assert str(next_command(list_runs(tmp_path))) == f"nas train-supernet --config {newer.config} --out {newer.path}"


def test_a_report_is_followed_by_what_the_run_lacks(tmp_path: Path) -> None:
    run = trained(tmp_path, "a")
    files = {"search": None, "export": run.search("host"), "finetune": run.path / "export" / "x" / "architecture.json"}
    for command, file in files.items():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
        assert next_after_report(read_status(run)) == f"nas {command} --run {run.path}"
    tuned = run.path / "finetune" / "x" / "run.json"
    tuned.parent.mkdir(parents=True)
    tuned.write_text("{}")
    assert next_after_report(read_status(run)) is None


def test_the_command(empty: Path) -> None:
    assert "no run in runs" in invoke("runs").out
    trained(empty / "runs", "one")
    make(empty / "runs", "two", age=5, config={"space": "[red]x", "source": "[/]"})  # no markup of the terminal's
    shown = invoke("runs")
    assert shown.out.index("runs/one") < shown.out.index("runs/two")
    assert "[red]x on [/]" in shown.out
    assert shown.err.strip().endswith("next: nas search --run runs/one")
    assert [row["state"] for row in invoke("runs", "--json").json] == ["trained", "training"]
    assert [row["run"] for row in invoke("runs", "runs/one", "--json").json] == ["runs/one"]
    assert "is not a folder" in invoke("runs", "elsewhere").message


def test_a_front_of_trained_weights_is_fine_tuned_before_it_is_exported(tmp_path: Path) -> None:
    run = trained(tmp_path, "a")
    run.search("host").write_text("{}")
    assert next_after_search(run, "host") == f"nas export --run {run.path} --target host"
    run.adapted.touch()
    assert next_after_search(run, "host") == f"nas finetune all --run {run.path}"
    assert next_after_report(read_status(run)) == f"nas finetune all --run {run.path}"
    tuned = run.path / "finetune" / "x" / "run.json"
    tuned.parent.mkdir(parents=True)
    tuned.touch()
    assert next_after_search(run, "host") == f"nas export --run {run.path} --target host"
