"""What ships is run before it is called exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import nas.export.folder
from nas.runtimes.runtime import DeviceCode
from nas.tasks.task import Task
from tests.support.cli_runs import content, invoke

Writer = Callable[[str, DeviceCode, Task, dict[str, str]], str]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("/ np.float32(255)", "/ np.float32(256)", "computes another input than the evaluation for"),
        ("round((length - side) / 2)", "round((length - side) / 2) - 1", "computes another input"),
        ("output = network(pixels)[0]", "output = network(pixels)[0][::-1]", "computes another output"),
        ("    check_packages(needs)", "    raise SystemExit('no network')", "does not run here (no network)"),
        ("import sys\n", "import sys, missing\n", "does not run here (ModuleNotFoundError: No module named 'missing')"),
    ],
)
def test_a_script_that_does_something_else_ends_the_export(
    here: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, said: str
) -> None:
    write: Writer = nas.export.folder.device_script

    def spoiled(form: str, code: DeviceCode, task: Task, needs: dict[str, str]) -> str:
        text = write(form, code, task, needs)
        assert text.count(before) == 1
        return text.replace(before, after)

    monkeypatch.setattr(nas.export.folder, "device_script", spoiled)
    kept = content(here / "run" / "export")
    result = invoke("export", "--run", "run", "--out", "new")
    assert result.code == 1
    assert result.message.startswith("error: classify_onnx.py ")
    assert said in result.message
    assert "nothing was exported" in result.message
    assert not Path("new").exists()
    assert content(here / "run" / "export") == kept


def test_the_card_is_followed_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.export.check.decode", lambda file, levels: Image.open(file).convert("L"))
    result = invoke("export", "--run", "run")
    assert result.code == 1
    assert result.message.startswith("error: README.md computes another input than the evaluation")
