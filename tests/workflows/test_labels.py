"""Networks of 24 and 28 px don't wear the label of networks that were measured at 96 to 224 px, wherever it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

for _package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_package)

from predictors.targets.target import load_target  # noqa: E402
from tests.support.cli_runs import invoke  # noqa: E402

SAID = "uncalibrated: outside what was measured ("


def test_the_front_says_that_its_networks_are_outside(here: Path) -> None:
    found = json.loads((here / "run" / "search-cortex-a72.json").read_text())
    assert found["target"]["latency"].startswith(SAID)
    measured = load_target("cortex-a72").measured["int8"]
    for member in found["front"]:
        assert measured.words("ms") in member["latency_outside"]
        assert measured.words("px") in member["latency_outside"]


def test_the_table_marks_them(here: Path) -> None:
    told = invoke("search", "--run", "run", "--measurements", "4")
    assert told.code == 0, told.err
    said = " ".join((told.out + told.err).split())
    assert f"latency: {SAID}" in said
    assert "MAPE" not in said
    (front,) = (json.loads((here / "run" / "search-cortex-a72.json").read_text())["front"],)
    for member in front:
        assert f"~{member['latency_ms']:.3f}" in said
    assert ", marked ~" in said


def test_cards_estimates_and_reports_say_it_too(here: Path) -> None:
    (card,) = (here / "run" / "export").glob("*/README.md")
    assert SAID in " ".join(card.read_text().split())
    assert "MAPE" not in card.read_text()
    manifest = json.loads((card.parent / "architecture.json").read_text())
    assert manifest["target"]["label"].startswith(SAID)
    costs = invoke("estimate", "best", "--run", "run", "--json").json
    assert costs["latency_source"].startswith(SAID)
    assert invoke("report", "--run", "run").code == 0
    page = (here / "run" / "report.html").read_text()
    assert SAID in page
    assert "calibrated (MAPE" not in page


def test_a_network_like_those_measured_keeps_the_label() -> None:
    costs = invoke("estimate", "mobilenetv3_large_100", "--target", "cortex-a72", "--json").json
    assert costs["latency_source"].startswith("calibrated (MAPE")
    small = invoke("estimate", "mobilenetv3_large_100", "--target", "x86-64", "--resolution", "32", "--json").json
    assert small["latency_source"].startswith(SAID)
