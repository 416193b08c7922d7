"""Every runtime passes the kit of its kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nas.runtimes.table import RUNTIMES, check_packages, file_name, parse_formats, runtime_of
from predictors.targets.target import load_target
from search_spaces.errors import UsageError, UserError
from tests.kits.runtime import RuntimeKit, is_installed
from tests.support.cli_runs import invoke


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_passes_its_kit(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not is_installed(name):
        pytest.skip(f"the packages of {name} are missing")
    RuntimeKit(name, tmp_path).check()
    assert capfd.readouterr() == ("", "")


def test_formats_come_from_the_user_or_the_target() -> None:
    model = load_target("cortex-a72").model
    assert parse_formats(None, model) == ("litert",)
    assert parse_formats(None, None) == ("onnx",)
    assert parse_formats(None, "onnx-uint8") == ("onnx",)
    assert parse_formats("executorch, onnx,onnx", model) == ("executorch", "onnx")
    assert file_name("executorch", "fp32") == "model.fp32.pte"
    with pytest.raises(UsageError, match="tflite"):
        parse_formats("onnx,tflite", model)
    with pytest.raises(UsageError, match="names no format"):
        parse_formats(" ,", model)
    with pytest.raises(UserError, match="'tflite' is unknown; there are: onnx, onnx-uint8, litert, executorch"):
        runtime_of("tflite")


def test_missing_packages_are_found_before_the_work_begins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "ai_edge_litert" else found(name))
    check_packages(["onnx"])
    with pytest.raises(UserError, match=r"format litert needs the package 'ai_edge_litert'; .*'\.\[litert\]'.*formats"):
        check_packages(["onnx", "litert"])
    for words in (("export",), ("finetune", "best"), ("finetune", "all")):
        said = invoke(*words, "--run", "run")
        assert said.code == 1
        assert said.message.startswith("error: format litert needs the package 'ai_edge_litert'")
    assert not (here / "run" / "finetune").exists()
    assert invoke("export", "--run", "run", "--format", "onnx").code == 0
    said = invoke("search", "--run", "run", "--measurements", "4", "--dry-run")
    assert said.code == 0
    assert "to export for cortex-a72 later: format litert needs the package 'ai_edge_litert'" in said.err
