"""Metrics go to ``metrics.jsonl`` and, where asked, to TensorBoard and Weights & Biases."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nas.events import Evaluated, Stepped, Warned
from nas.store.metrics import Metrics, read_metrics
from nas.store.run import Run
from nas.training.config import Resources, TrainConfig
from nas.training.loggers import LOGGERS, logging_to, parse_loggers
from nas.workflows.train import train_supernet
from search_spaces.errors import UsageError, UserError
from tests.conftest import PhotoFolder

LINES = [
    Warned("not a metric"),
    Stepped(20, 2.5, 40, 0.5, 9),
    Evaluated(20, {"smallest": 0.25, "largest": 0.5}, 40),
    Stepped(40, 2.0, 40, 1.0, 0),
]


class _FakeBoard:
    """Notes what torch's SummaryWriter is asked to write."""

    made: ClassVar[list[_FakeBoard]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge, self.found, self.closed = folder, purge_step, [], False
        _FakeBoard.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.found.append((name, value, step))

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for the two packages."""
    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = _FakeBoard  # type: ignore[attr-defined]
    calls: dict[str, Any] = {"logged": []}

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            calls["logged"].append((step, values))

        def finish(self) -> None:
            calls["finished"] = True

    wandb = types.ModuleType("wandb")
    wandb.init = lambda **options: calls.update(options=options) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    _FakeBoard.made.clear()
    return calls


def test_loggers_get_every_metric(modules: dict[str, Any], tmp_path: Path) -> None:
    with logging_to(("tensorboard", "wandb"), tmp_path, TrainConfig()) as log:
        for line in LINES:
            log(line)
    (board,) = _FakeBoard.made
    assert board.folder == str(tmp_path / "tensorboard")
    assert board.purge == 20  # a resumed run's first line
    assert board.found == [
        ("epoch", 0.5, 20), ("loss", 2.5, 20), ("smallest", 0.25, 20), ("largest", 0.5, 20), ("epoch", 1.0, 40),
        ("loss", 2.0, 40),
    ]  # fmt: skip
    assert board.closed
    assert modules["finished"]
    assert [step for step, _ in modules["logged"]] == [20, 20, 40]
    assert modules["logged"][1][1] == {"smallest": 0.25, "largest": 0.5}
    assert modules["options"]["config"] == asdict(TrainConfig())
    assert modules["options"]["dir"] == str(tmp_path.resolve())
    first = modules["options"]["id"]
    with logging_to(("wandb",), tmp_path, TrainConfig()):
        pass
    assert modules["options"]["id"] == first  # a resumed run goes on in the same


def test_a_run_logs_what_its_file_holds(modules: dict[str, Any], photo_folder: PhotoFolder, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    photos = photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(28, 28))
    config = TrainConfig(source=str(photos), epochs=0.5, batch_size=4, strategy="random")
    train_supernet(run, config, Resources(workers=0, evaluations=1, log=("tensorboard",)), lambda entry: None)
    (board,) = _FakeBoard.made
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    places = ("step", "steps", "eta_s")
    assert [(n, v, line["step"]) for line in lines for n, v in line.items() if n not in places] == board.found
    assert board.found


def test_names_of_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_loggers("") == ()
    with pytest.raises(UsageError, match="did you mean 'wandb'"):
        parse_loggers("wanbd")
    for name in LOGGERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=rf"pip install .*'\.\[{name}\]'"):
            parse_loggers(name)


def test_tensorboard_itself_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with logging_to(("tensorboard",), tmp_path, TrainConfig()) as log:
        for line in LINES:
            log(line)
    with logging_to(("tensorboard",), tmp_path, TrainConfig()) as log:  # resumed before the last line
        log({**LINES[-1], "loss": 1.5})
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(20, 2.5), (40, 1.5)]


def test_wandb_itself_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with logging_to(("wandb",), tmp_path, TrainConfig()) as log:
        for line in LINES:
            log(line)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    "strange",
    [b'{"st', b"5", b"[]", b"null", b"\xff\xfe", b'{"step": "40"}', b'{"loss": 1}', b"[" * 10**5, b"9" * 5000],
)
def test_metrics_are_cut_back_to_where_training_goes_on(tmp_path: Path, strange: bytes) -> None:
    path, said = tmp_path / "metrics.jsonl", []
    path.write_bytes(b'{"step": 20}\n' + strange + b'\n{"step": 40}\n')
    assert read_metrics(path) == ([Evaluated(20, {}), Evaluated(40, {})], 1)
    Metrics(path, 20, said.append).write(Stepped(30, 1.5))
    assert path.read_text() == '{"step": 20}\n{"step": 30, "loss": 1.5}\n'
    assert said == [Stepped(30, 1.5)]
