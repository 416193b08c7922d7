"""Target files: the shipped ones, one's own, and every mistake in one message."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.latency.validation import predict_vectors
from predictors.costs.network import COLUMN, FEATURES, PEAKS, operator_rows
from predictors.costs.tables import CostTables
from predictors.latency.additive import AdditiveLatency
from predictors.latency.records import COEFFICIENTS, Coefficients
from predictors.targets.card import shipped_card
from predictors.targets.latency_section import YARDSTICK
from predictors.targets.record import LABEL
from predictors.targets.target import (
    FOLDER,
    Target,
    available_targets,
    load_target,
    parse_target,
    to_toml,
)
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, UserError
from search_spaces.operators.trace import trace
from tests.support.long_forms import long_form

pytestmark = pytest.mark.xdist_group("targets")  # the tables of a large space take long: read once, by one process

CONSTANTS = {name: 0.1 * (i + 1) for i, name in enumerate(COEFFICIENTS)}
TABLE = '[latency.int8]\nlabel = "uncalibrated"\nsource = "a guess"\n' + "".join(
    f"{name} = {value:.1f}\n" for name, value in CONSTANTS.items()
)
HEAD = 'name = "board"\ndescription = "a board"\nruntime = "a runtime 1.0"\ndefault_precision = "int8"\n'
VALID = HEAD + TABLE


def test_both_shipped_targets_are_there() -> None:
    assert {"cortex-a72", "host"} <= set(available_targets())


@pytest.mark.parametrize("name", available_targets())
def test_shipped_targets_are_complete(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.default_precision in target.precisions
    for precision in target.latency.precisions:
        assert LABEL.fullmatch(target.label(precision))
        assert len(target.source(precision)) > 20


@pytest.mark.parametrize("name", available_targets())
@pytest.mark.parametrize("preset", long_form(["mbv3-tiny"], ["mbv3-large"]))
def test_shipped_targets_predict_plausible_latencies(name: str, preset: str) -> None:
    space, target = get_space(preset), load_target(name)
    tables, vectors = CostTables(space, Interface(3, 10)), np.stack(space.extremes())
    for precision in target.latency.precisions:
        small, large = predict_vectors(target.latency, tables, vectors, precision)
        assert 0 < small < large < (60_000 if name.startswith("cortex-m") else 1000)


def test_int8_is_faster_than_fp32_on_a_raspberry_pi() -> None:
    space, target = get_space("mbv3-large"), load_target("cortex-a72")
    model = space.build(space.largest, Interface(3, 10), "meta").eval()
    rows = operator_rows(trace(model, 3, space.largest.resolution))
    integer, floating = (target.latency.network(rows, precision) for precision in ("int8", "fp32"))
    assert integer < floating


@pytest.mark.parametrize("name", ["cortex-a72", "host"])
def test_larger_kernels_are_not_free(name: str) -> None:
    """A search would otherwise take the largest kernel everywhere."""
    space, target = get_space("mbv3-tiny"), load_target(name)
    tables = CostTables(space, Interface(3, 10))
    small = space.extremes()[1][None].copy()
    for column, gene in enumerate(space.genes):
        if gene.name.endswith("kernel"):
            small[:, column] = 0
    large = space.extremes()[1][None]
    for precision in target.latency.precisions:
        a, b = (predict_vectors(target.latency, tables, v, precision)[0] for v in (small, large))
        assert b > 1.02 * a


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cortex-a72'"):
        load_target("cortx-a72")


def test_a_path_is_a_target(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(VALID)
    for given_as in (path, str(path)):
        target = load_target(given_as)
        assert target.name == "board"
        assert target.latency == AdditiveLatency(
            {"int8": Coefficients(**{k: round(v, 1) for k, v in CONSTANTS.items()})}
        )
        assert (target.ram_bytes, target.flash_bytes, target.model) == (None, None, None)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target file"):
        load_target(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="no target file"):
        load_target("mine\0.toml")
    with pytest.raises(UserError, match="cannot read"):
        load_target(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="isn't a text"):
        load_target(tmp_path / "bytes.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(UserError, match="not TOML"):
        load_target(tmp_path / "broken.toml")


def test_memory_limits_and_export_form() -> None:
    target = parse_target(f'{HEAD}model = "onnx"\nmemory = {{ ram_bytes = 320000, flash_bytes = 1000000 }}\n{TABLE}')
    assert (target.ram_bytes, target.flash_bytes, target.model) == (320_000, 1_000_000, "onnx")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fixed_ms = 1.0\n", "", ["latency.int8.fixed_ms is missing"]),
        ("fixed_ms = 1.0", "fixed_ms = -1.0", ["latency.int8.fixed_ms: -1.0 is not a number of at least 0"]),
        ("fixed_ms = 1.0", 'fixed_ms = "fast"', ['latency.int8.fixed_ms: "fast" is not a number']),
        ("fixed_ms = 1.0", "fixed_ms = true", ["latency.int8.fixed_ms: true is not a number"]),
        ("fixed_ms = 1.0", "fixed_ms = nan", ["latency.int8.fixed_ms: NaN is not a number"]),
        ("fixed_ms = 1.0", "fixed_ms = inf", ["latency.int8.fixed_ms: Infinity is not a number"]),
        ("fixed_ms = 1.0", "fixed_ms = 1.0\nfixd_ms = 1", ["unknown key 'latency.int8.fixd_ms'", "'fixed_ms'?"]),
        ("runtime =", "run_time =", ["unknown key 'run_time'", "runtime is missing"]),
        ("[latency.int8]", "[latency.int4]", ["unknown precision [latency.int4]", "'int8' has no table"]),
        ('"uncalibrated"', '"trust me"', ["latency.int8.label: 'trust me' is not", "'calibrated (...)'"]),
        ('source = "a guess"\n', "", ["latency.int8.source is missing"]),
        ('name = "board"', 'name = ""', ["name: give a text that isn't empty"]),
        (TABLE, "", ["latency is missing"]),
        (TABLE, "[latency]\nint8 = 3\n", ["latency.int8 is 3, not a table"]),
        (
            TABLE,
            f"[memory]\nram_bytes = -1\nrom = 2\n{TABLE}",
            ["memory.ram_bytes: -1 is not a whole number above 0", "unknown key 'memory.rom'"],
        ),
        (TABLE, f"[memory]\nrules = 'own'\n{TABLE}", ["memory.rules: 'own' is unknown; rules are in-place, separate"]),
        ("default_precision =", "weight_bits = [8, 3]\ndefault_precision =", ["weight_bits: give a list of 8, 4, 2"]),
        (
            TABLE,
            f'{TABLE}[latency.int8.operators]\nfeatures = ["mac"]\nrows = [[1, 2]]\nms = [1]\nwidth = 1\nnoise = 2',
            ["latency.int8.operators.features: 'mac' is unknown", "rows[0] has 2 numbers, not 1"],
        ),
        ("default_precision =", "memory = 5\ndefault_precision =", ["memory is 5, not a table"]),
    ],
)
def test_mistakes_are_named(old: str, new: str, words: list[str]) -> None:
    assert old in VALID
    with pytest.raises(UserError) as caught:
        parse_target(VALID.replace(old, new), "mine.toml")
    for word in ["mine.toml", *words]:
        assert word in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    text = VALID.replace("fixed_ms = 1.0", "fixed_ms = -1").replace("operator_ms = 0.9\n", "") + "colour = 1\n"
    with pytest.raises(UserError, match="3 problems") as caught:
        parse_target(text)
    for word in ("fixed_ms", "operator_ms", "colour"):
        assert word in str(caught.value)


def test_a_target_of_zeros_is_refused() -> None:
    text = HEAD + '[latency.int8]\nlabel = "uncalibrated"\nsource = "none"\n'
    with pytest.raises(UserError, match="every constant is 0"):
        parse_target(text + "".join(f"{name} = 0\n" for name in COEFFICIENTS))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_constants_in_other_units_are_refused_with_what_they_would_say(factor: float) -> None:
    """Ten constants of 0.1 to 1.0 in other units than ms: MobileNetV2 takes 0.5 * 267.9 + ... ms by those."""
    text = VALID
    for key, value in CONSTANTS.items():
        text = text.replace(f"{key} = {value:.1f}", f"{key} = {value * factor:.6g}")
    with pytest.raises(UserError, match=r"MobileNetV2 at 224 px takes .* ms, outside 0\.05 to 1e"):
        parse_target(text)


def test_the_yardstick_is_mobilenetv2() -> None:
    with torch.device("meta"):
        model = timm.create_model("mobilenetv2_100").eval()
    row = operator_rows(trace(model, 3, 224)).sum(axis=0)
    no_latency = {"channels", "params", *PEAKS}
    assert {name: row[COLUMN[name]] for name in set(FEATURES) - no_latency if row[COLUMN[name]]} == YARDSTICK


def test_a_limit_in_kilobytes_names_the_key_in_bytes() -> None:
    with pytest.raises(UserError, match=r"unknown key 'memory\.ram_kb', did you mean 'ram_bytes'"):
        parse_target(f"{HEAD}memory = {{ ram_kb = 256 }}\n{TABLE}")


def test_precision_and_label_of_a_target() -> None:
    target = parse_target(VALID)
    assert target.precision() == target.precision("int8") == "int8"
    assert target.label() == "uncalibrated"
    assert target.source("int8") == "a guess"
    with pytest.raises(UsageError, match="precision 'fp32' of target 'board'"):
        target.precision("fp32")


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda t: bool(t.strip()))
NUMBER = st.floats(1e-6, 100).map(lambda x: float(f"{x:.6g}"))


@settings(max_examples=40, deadline=None)
@given(
    TEXT,
    TEXT,
    TEXT,
    st.lists(NUMBER, min_size=len(COEFFICIENTS), max_size=len(COEFFICIENTS)),
    st.none() | st.integers(1, 10**9),
    st.sampled_from((None, "onnx", "onnx-uint8", "executorch")),
)
def test_files_round_trip(
    name: str, description: str, source: str, constants: list[float], ram: int | None, model: str | None
) -> None:
    constants[-1] = max(constants[-1], 0.1)  # ms a network: fewer are thought to be seconds
    target = Target(
        name, description, "runtime", "fp32", {"fp32": "calibrated (MAPE 1.0 %, tau 0.99, 8 networks)"},
        {"fp32": source}, ram_bytes=ram, model=model, latency=AdditiveLatency({"fp32": Coefficients(*constants)}),
    )  # fmt: skip
    assert parse_target(to_toml(target, "a comment\nof two lines")) == target


def test_the_card_of_a_shipped_target_is_its_file_without_latencies() -> None:
    for name in available_targets():
        card, target = shipped_card(name), load_target(name)
        assert {f.name: getattr(card, f.name) for f in fields(card)} == {
            f.name: getattr(target, f.name) for f in fields(card)
        }
        assert set(card.labels) == set(target.latency.precisions)
        assert (card.precisions, card.memory) == (target.precisions, target.memory)


def test_shipped_files_keep_to_the_written_form() -> None:
    for name in available_targets():
        text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
        body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        assert to_toml(load_target(name)) == body


def test_listing_targets_imports_nothing_heavy() -> None:
    code = (
        "import sys; from predictors.targets.target import available_targets; available_targets();"
        "print(sorted({'numpy', 'scipy', 'torch', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
