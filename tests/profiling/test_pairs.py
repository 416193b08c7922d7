"""``nas profile --pairs``: a table of latencies that somebody has, and the target that it makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.profiling.pairs import Pair, Traced, fit_pairs, read_pairs
from nas.store.seeds import stream
from predictors.costs.network import operator_rows
from predictors.latency.additive import AdditiveLatency
from predictors.latency.records import Coefficients
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UserError
from search_spaces.genes import Floats
from search_spaces.operators.trace import trace
from tests.support.cli_runs import invoke

DEVICE = AdditiveLatency({"int8": Coefficients(0.3, 0.05, 0.008, 0.06, 0.05, 0.3, 0.5, 0.03, 0.0014, 0.02)})
SIDES = (24, 28)


@pytest.fixture(scope="module")
def networks() -> list[tuple[str, dict[int, Floats]]]:
    """Text of 14 architectures, and the operators of each at two resolutions."""
    space = get_space("mbv3-tiny")
    made = []
    for vector in space.sample(stream(0, "profile.check"), 14):
        architecture = space.decode(vector)
        model = space.build(architecture, Interface(3, 1000), "meta").eval()
        text = json.dumps(architecture.to_dict(), separators=(",", ":"))
        made.append((text, {side: operator_rows(trace(model, 3, side)) for side in SIDES}))
    return made


def table(networks: list[tuple[str, dict[int, Floats]]], path: Path) -> Path:
    """Latencies of a device that is the additive model itself; networks are files."""
    lines = ["# of my board", "network,resolution,precision,ms,note"]
    side = SIDES[0]
    for i, (text, operators) in enumerate(networks):
        file = path.parent / f"net{i}.json"
        file.write_text(text)
        lines.append(f"{file},{side},int8,{DEVICE.network(operators[side], 'int8'):.9f},x")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_becomes_a_target_that_predicts(
    networks: list[tuple[str, dict[int, Floats]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("profile", "--pairs", table(networks, tmp_path / "board.csv"), "--name", "my-board", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["target"] == "my-board.toml"
    assert told["reference"] is None
    assert told["precisions"]["int8"]["networks"] == 14
    assert told["precisions"]["int8"]["mape"] < 1.5
    target = load_target("my-board.toml")
    assert target.precisions[0] == "int8"
    assert target.default_precision == "int8"
    assert target.measured["int8"].px == (24.0, 24.0)
    assert "14 latencies of board.csv" in target.sources["int8"]
    for _, operators in networks:
        ms = DEVICE.network(operators[SIDES[0]], "int8")
        assert target.latency.network(operators[SIDES[0]], "int8") == pytest.approx(ms, rel=0.02)


def test_a_network_is_judged_without_any_of_its_latencies(networks: list[tuple[str, dict[int, Floats]]]) -> None:
    """One network is three times as slow as the rest say, at both resolutions: its error is seen in full."""
    pairs = [
        Traced(Pair(0, text, (3 if i == 5 else 1) * DEVICE.network(rows, "int8"), "int8", side), rows, side)
        for i, (text, operators) in enumerate(networks)
        for side, rows in operators.items()
    ]
    report = fit_pairs(pairs, "int8", "t.csv", 0).report
    assert report.mape == pytest.approx(100 * (2 / 3) * 2 / len(pairs), rel=0.5)
    assert np.isclose(report.within_10, 100 * 26 / 28, atol=8)


def test_lines_are_read_by_their_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b'\xef\xbb\xbf# by Ann\r\nms, network\r\n\r\n2.5, resnet18\r\n 3 ,"a,b"\r\n')
    assert read_pairs(file, "fp32") == (Pair(4, "resnet18", 2.5, "fp32"), Pair(5, "a,b", 3.0, "fp32"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line names the columns"),
        ("network;ms\nresnet18;3", "the first line names the columns"),
        ("network,ms\nresnet18,3", "line 2: no precision"),
        ("network,ms,precision\nresnet18,3,int4", 'line 2: precision is "int4"'),
        ("network,ms,precision\nresnet18,nan,int8", 'line 2: ms is "nan"'),
        ("network,ms,precision\nresnet18,-1,int8", 'line 2: ms is "-1"'),
        ("network,ms,precision\nresnet18", 'line 2: ms is ""'),
        ("network,ms,precision\n,1,int8", "line 2: no network"),
        ("network,ms,precision,resolution\nresnet18,1,int8,9e9", 'line 2: resolution is "9e9"'),
        ('network,ms,precision\n"res\nnet18",1,int8', "several lines"),
        ("network,ms,precision\nno_such_net,1,int8", "line 2: "),
        ("network,ms,precision\nresnet18,1000,int8", "1 different networks; 12 or more"),
        ("network,ms,precision\nresnet18,1e-9,int8", "are these milliseconds?"),
        ("network,ms,precision\n", "no networks"),
    ],
)
def test_a_damaged_table_is_refused_in_a_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text)
    result = invoke("profile", "--pairs", file, "--out", tmp_path / "board.toml")
    assert result.code != 0
    assert said in result.err
    assert "t.csv" in result.err
    assert not (tmp_path / "board.toml").exists()


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "t.csv"):
        with pytest.raises(UserError, match=r"is not a table|does not exist"):
            read_pairs(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bundle", "b"), "bundle"), (("--import", "r.json"), "import"), (("--space", "mcunet"), "space"),
        (("--threads", "4"), "threads"), (("--runtime", "litert"), "runtime"), (("--uint8",), "uint8"),
        (("--dry-run",), "dry_run"),
    ],
)  # fmt: skip
def test_nothing_is_measured_beside_a_table(words: tuple[str, ...], said: str) -> None:
    result = invoke("profile", "--pairs", "t.csv", *words)
    assert result.code == 2
    assert said.replace("_", "-") in result.err
