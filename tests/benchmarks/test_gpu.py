"""The checks for a GPU, on the CPU: each line can hold, and each can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import gpu
from nas.data.opening import open_dataset
from nas.training.step import StepInput


def test_all_lines_hold_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   losses against the CPU's: differ by 0.0e+00")
    assert lines[1] == "ok   stopped and resumed: the same bits"
    assert [line.partition(":")[0] for line in lines[2:4]] == ["images/s, fp32", "images/s, bf16"]


def test_other_losses_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = gpu.Rehearsal.step, []

    def drifts(self: gpu.Rehearsal, step: int, batch: StepInput) -> float:
        calls.append(step)
        return real(self, step, batch) * (1.01 if len(calls) > gpu.SMALL.steps else 1)

    monkeypatch.setattr(gpu.Rehearsal, "step", drifts)
    line = gpu.compare_losses("cpu", gpu.SMALL, open_dataset("embedded"))
    assert line.holds is False
    assert "1.0e-02" in line.figure


@pytest.mark.long
def test_a_training_that_is_never_stopped_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.signal, "raise_signal", lambda _: None)
    assert gpu.resume("cpu", gpu.SMALL, open_dataset("embedded"), tmp_path).holds is False
