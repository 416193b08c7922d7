"""What ships is run before it is called exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import nas.export.folder
from nas.data.dataset import Dataset
from nas.export.check import IMAGES, check_folder
from nas.export.device_script import Script
from nas.export.manifest import MANIFEST, open_model
from nas.runtimes.runtime import DeviceCode
from nas.store.exports import Manifest
from nas.store.files import read_record
from nas.store.run import Run
from nas.tasks.task import Task
from nas.workflows.trained import open_trained
from search_spaces.errors import UserError
from tests.support.cli_runs import content, invoke

Writer = Callable[[str, DeviceCode, Task, dict[str, str]], str]


@dataclass(frozen=True)
class Shipped:
    """The folder that the finished run exported."""

    folder: Path
    dataset: Dataset

    @property
    def script(self) -> Path:
        return self.folder / "classify_litert.py"

    def check(self) -> int:
        """What an export does with a folder before it takes its place."""
        given = read_record(self.folder / MANIFEST, Manifest).input
        script = Script(self.script.name, "model.int8.tflite", open_model(self.folder / "model.int8.tflite"), {})
        return check_folder(self.folder, [script], self.dataset, given)


@pytest.fixture
def shipped(here: Path) -> Shipped:
    run = Run(here / "run")
    (folder,) = (run.path / "export").iterdir()
    return Shipped(folder, open_trained(run).dataset)


def test_what_was_exported_computes_what_the_evaluation_did(shipped: Shipped) -> None:
    assert shipped.check() == min(IMAGES, len(shipped.dataset.splits["test"]))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("/ np.float32(255)", "/ np.float32(256)", "computes another input than the evaluation for"),
        ("round((length - side) / 2)", "round((length - side) / 2) - 1", "computes another input"),
        ("output = network(pixels)[0]", "output = network(pixels)[0][::-1]", "computes another output"),
        ("import sys\n", "import sys, missing\n", "does not run here (ModuleNotFoundError: No module named 'missing')"),
    ],
)
def test_a_script_that_does_something_else_is_refused(shipped: Shipped, before: str, after: str, said: str) -> None:
    text = shipped.script.read_text()
    assert text.count(before) == 1
    shipped.script.write_text(text.replace(before, after))
    with pytest.raises(UserError) as refused:
        shipped.check()
    assert str(refused.value).startswith("classify_litert.py ")
    assert said in str(refused.value)


def test_what_is_refused_is_not_exported(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Writer = nas.export.folder.device_script
    before = "    check_packages(needs)"

    def spoiled(form: str, code: DeviceCode, task: Task, needs: dict[str, str]) -> str:
        text = write(form, code, task, needs)
        assert text.count(before) == 1
        return text.replace(before, "    raise SystemExit('no network')")

    monkeypatch.setattr(nas.export.folder, "device_script", spoiled)
    kept = content(here / "run" / "export")
    result = invoke("export", "--run", "run", "--out", "new")
    assert result.code == 1
    assert result.message.startswith("error: classify_litert.py does not run here (no network)")
    assert "nothing was exported" in result.message
    assert not Path("new").exists()
    assert content(here / "run" / "export") == kept


def test_the_card_is_followed_too(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.export.check.decode", lambda file, levels: Image.open(file).convert("L"))
    with pytest.raises(UserError, match=r"^README\.md computes another input than the evaluation"):
        shipped.check()
