"""Scripts without a main guard end with the advice, where processes import the script that started them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.store.run import Run
from nas.store.spawned import ADVICE
from nas.training.processes.launch import launch
from search_spaces.errors import UserError
from tests.support.cli_runs import write_photos

TRAIN = """
import multiprocessing
from pathlib import Path
import nas
multiprocessing.set_start_method("spawn", force=True)
config = nas.TrainConfig(space="mbv3-tiny", source="photos", epochs=1, batch_size=16)
nas.train_supernet(nas.Run(Path("run")), config, nas.Engine(device="cpu", workers=1))
"""


@pytest.mark.long
def test_a_training_without_a_guard_ends_with_the_advice(tmp_path: Path) -> None:
    """With more images than a pipe holds, Python itself would wait for ever for the process that has ended."""
    write_photos(tmp_path / "photos", ("a", "b"), 40)
    (tmp_path / "script.py").write_text(TRAIN)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith(ADVICE)
    assert "in use by another" not in ended.stderr


def test_no_process_is_started_while_a_script_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(UserError, match="each of them runs it from the top"):
        launch(2, print)


def test_a_run_is_not_taken_by_a_process_that_imports_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    for hold in (Run(tmp_path).locked, Run(tmp_path).joined):
        with pytest.raises(UserError, match="each of them runs it from the top"), hold():
            pass
    assert not list(tmp_path.iterdir())
