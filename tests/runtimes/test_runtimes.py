"""Every runtime passes the kit of its kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.runtimes.table import RUNTIMES, file_name, parse_formats, runtime_of
from predictors.targets.target import load_target
from search_spaces.errors import UsageError, UserError
from tests.kits.runtime import RuntimeKit, is_installed


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_passes_its_kit(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not is_installed(name):
        pytest.skip(f"the packages of {name} are missing")
    RuntimeKit(name, tmp_path).check()
    assert capfd.readouterr() == ("", "")


def test_formats_come_from_the_user_or_the_target() -> None:
    model = load_target("cortex-a72").model
    assert parse_formats(None, model) == parse_formats(None, None) == ("onnx",)
    assert parse_formats(None, "onnx-uint8") == ("onnx",)
    assert parse_formats("executorch, onnx,onnx", model) == ("executorch", "onnx")
    assert file_name("executorch", "fp32") == "model.fp32.pte"
    with pytest.raises(UsageError, match="tflite"):
        parse_formats("onnx,tflite", model)
    with pytest.raises(UsageError, match="names no format"):
        parse_formats(" ,", model)
    with pytest.raises(UserError, match="'tflite' is unknown; there are: onnx, onnx-uint8, litert, executorch"):
        runtime_of("tflite")
