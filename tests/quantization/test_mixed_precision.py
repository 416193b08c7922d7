"""Searching architecture and precision together, from the command line to a file in its runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.export.manifest import open_model
from search_spaces.policy import parse_policy
from tests.support.cli_runs import invoke

pytest.importorskip("onnxruntime")


@pytest.mark.long
def test_the_number_in_the_table_is_the_files(here: Path) -> None:
    words = ("--precision", "fp32,int8,w4a8", "--measurements", "8", "--compare", "none")
    found = invoke("search", "--run", "run", *words, "--json", "--quiet")
    assert found.code == 0, found.err
    policies = {m["id"]: parse_policy(m["precision"]) for m in found.json["front"]}
    mixed = next(name for name, policy in policies.items() if len(policy.precisions) > 1)
    member = next(m for m in found.json["front"] if m["id"] == mixed)

    estimated = invoke("estimate", mixed, "--run", "run", "--json")
    assert estimated.code == 0, estimated.err
    for key in ("latency_ms", "size_bytes", "peak_activation_bytes"):
        assert estimated.json[key] == pytest.approx(member[key], rel=1e-9)

    exported = invoke("export", "--run", "run", "--candidate", mixed, "--json")
    assert exported.code == 0, exported.err
    file = next(Path("run/export").glob("*/model.mixed.onnx"))
    measured = invoke("evaluate", file, "--run", "run", "--json")
    assert measured.code == 0, measured.err
    assert abs(measured.json["value"] - member["test"]["value"]) <= 0.001
    facts = {key: json.loads(text) for key, text in open_model(file).metadata.items()}
    assert (facts["policy"], facts["candidate"]) == (member["precision"], mixed)

    again = invoke("search", "--run", "run", *words, "--json", "--quiet")
    assert again.json["front"] == found.json["front"]


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("search", "--run", "run", "--precision", "w2a8"), 2, "'w2a8' of target 'cortex-a72'; did you mean 'w4a8'"),
        (("search", "--run", "run", "--precision", "int8,int8"), 2, "names one of them twice"),
        (("search", "--run", "run", "--precision", "int8,blocks.1=w4a8"), 2, "'blocks.1=w4a8'"),
        (("search", "--run", "run", "--precision", "mixed", "--target", "cortex-m7", "--max-size", "1kB"), 3, "size"),
        (("estimate", "best", "--run", "run", "--precision", "int8,blocks.9=fp32"), 2, "no stage 'blocks.9'"),
        (("estimate", "mobilenetv3_small_050", "--precision", "w4a8", "--target", "cortex-m7"), 2, "'w4a8'"),
        (("evaluate", "best", "--run", "run", "--precision", "int9"), 2, "did you mean 'int8'"),
    ],
)
def test_policies_that_cannot_be(here: Path, words: tuple[str, ...], code: int, expected: str) -> None:
    before = json.loads(Path("run/run.json").read_text())
    result = invoke(*words)
    assert result.code == code, result.err
    assert expected in result.message
    assert json.loads(Path("run/run.json").read_text()) == before
