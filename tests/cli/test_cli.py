"""The command line as a user meets it: conventions, bad flags, bad data."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
from nas.store.run import Run
from nas.workflows.trained import open_trained
from predictors.targets.card import FOLDER
from tests.support.cli_runs import (
    CLASSES,
    SEARCH,
    TRAIN,
    content,
    edit_json,
    half,
    invoke,
    train_words,
    unfinish,
    write_photos,
)
from tests.support.few_images import write_few

# conventions


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ((*TRAIN, "--dry-run", "--out", "new"), {"run", "summary", "steps"}),
        (("search", "--run", "run", *SEARCH[1:]), {"front", "config", "predictor", "hypervolume", "target"}),
        (("search", "--run", "run", "--dry-run"), {"summary", "measurements"}),
        (("evaluate", "best", "--run", "run"), {"what", "split", "value", "images"}),
        (("spaces", "mbv3-tiny"), {"name", "choices", "costs"}),
    ],
)
def test_json_is_one_document_on_stdout(here: Path, words: tuple[object, ...], keys: set[str]) -> None:
    result = invoke(*words, "--json")
    assert result.code == 0, result.err
    assert keys <= set(result.json)
    assert result.err == ""


@pytest.mark.parametrize("command", ["spaces", "targets"])
def test_json_of_lists(command: str) -> None:
    result = invoke(command, "--json")
    assert {"cortex-a72", "mbv3-tiny"} & {row["name"] for row in result.json}
    assert result.err == ""


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_a_target_in_full(name: str) -> None:
    """Device, runtime, and a label and a source for every precision."""
    shown = invoke("targets", name).out
    facts = invoke("targets", name, "--json").json
    for text in (facts["description"], facts["runtime"], *facts["latency"].values(), *facts["sources"].values()):
        assert text in shown


def test_memory_and_constants_of_a_target() -> None:
    shown = invoke("targets", "cortex-m7").out
    facts = invoke("targets", "cortex-m7", "--json").json
    assert "320 KiB SRAM" in facts["memory_source"]
    assert facts["memory_source"] in shown
    assert "depthwise_ms_per_mmac" in shown
    assert invoke("targets", "cortex-m8").code == 2


@pytest.mark.parametrize(
    "words",
    [("train-supernet", "--dry-run", "--out", "new"), ("search", "--run", "run", *SEARCH[1:]),
     ("search", "--run", "run", "--dry-run"), ("export", "--run", "run"), ("evaluate", "best", "--run", "run"),
     ("spaces",), ("spaces", "mbv3-tiny"), ("targets",), ("targets", "cortex-m7")],
)  # fmt: skip
def test_every_command_ends_with_the_next_one(here: Path, words: tuple[object, ...]) -> None:
    result = invoke(*words)
    assert result.code == 0, result.err
    assert result.out.strip()
    last = result.err.strip().splitlines()[-1]
    assert last.startswith("next: nas ")
    assert last.split()[2] in ("train-supernet", "search", "export", "evaluate", "report")
    assert "next:" not in result.out
    if "--dry-run" in words:  # what was typed, in earnest
        assert last == f"next: nas {' '.join(str(word) for word in words if word != '--dry-run')}"


def test_flags_win_over_environment_over_config(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_few(empty / "few.npz")
    monkeypatch.setattr("nas.data.sources.embedded.ARRAYS", empty / "few.npz")
    (empty / "run.toml").write_text("epochs = 3\nbatch-size = 10\nspace = 'mbv3-tiny'\n")
    words = ("train-supernet", "--dry-run", "--json", "--config", "run.toml")
    assert invoke(*words).json["steps"] == 3 * 10  # 100 training images
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_EPOCHS", "2")
    assert invoke(*words).json["steps"] == 2 * 10
    assert invoke(*words, "--epochs", "1").json["steps"] == 10
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_CONFIG", "run.toml")
    assert invoke(*words[:3]).json["steps"] == 2 * 10


def test_a_dry_run_writes_nothing(here: Path, finished: Path) -> None:
    before = content(here)
    assert invoke("train-supernet", "--dry-run").code == 0
    assert invoke("train-supernet", "--dry-run", "--data", finished / "photos", "--out", "new").code == 0
    assert invoke("search", "--run", "run", "--dry-run", "--target", "host").code == 0
    assert content(here) == before


def test_no_flags_are_needed(here: Path) -> None:
    """Evaluate takes the last run; where there is none, it says how to begin."""
    result = invoke("evaluate")
    assert result.code == 1
    assert "start one: nas train-supernet" in result.message
    (here / "runs").mkdir()
    (here / "run").rename(here / "runs" / "mine")
    assert invoke("evaluate").code == 0


def test_a_finished_command_can_be_run_again(here: Path, finished: Path) -> None:
    """And says as JSON what it would have said."""
    before = content(here)
    assert invoke(*train_words(finished), "--json").json["complete"] is True
    assert invoke(*SEARCH, "--run", "run").code == 0
    (exported,) = invoke("export", "--run", "run", "--json").json
    assert (Path(exported["path"]) / "architecture.json").exists()
    assert [r["split"] for r in exported["results"]] == ["search", "test", "test"]
    after = content(here)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"run/journal.log"}  # Optuna notes that it was opened


def test_no_words_and_help() -> None:
    assert "train-supernet" in invoke().out
    shown = invoke("train-supernet", "--help")
    assert shown.code == 0
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown.out).split())
    assert "default: embedded" in text
    assert "default: auto" in text


def test_debug_shows_where(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--debug", "search", "--run", "nowhere"])
    with pytest.raises(Exception, match="not a run directory"):
        cli.main()


# bad input


def test_cuda_without_cuda(empty: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    result = invoke("train-supernet", "--device", "cuda")
    assert result.code == 2
    assert "use --device cpu" in result.message


def test_an_infeasible_pair_of_bounds_names_both(here: Path) -> None:
    found = invoke("search", "--run", "run", "--max-latency", "0.0001", "--max-size", "100")
    assert found.code == 3
    least = float(re.findall(r"the smallest is ([\d.]+) ms", found.message)[0])
    assert "size <= 100 kB is reachable alone" in found.message
    assert invoke("search", "--run", "run", "--max-latency", least * 0.99).code == 3
    assert invoke("search", "--run", "run", "--max-latency", least * 1.01, "--dry-run").code == 0


def test_a_bound_in_another_unit_bounds_nothing_and_that_is_said(here: Path) -> None:
    found = invoke("search", "--run", "run", "--max-size", "100 MB", "--dry-run")
    assert found.code == 0
    assert "warning: size <= 100000 kB bounds nothing: the largest network has" in found.err
    assert "within size <= 100000 kB" in found.out
    found = invoke("search", "--run", "run", "--max-size", "100", "--dry-run")
    assert "warning" not in found.err
    assert "within size <= 100 kB" in found.out


def test_bounds_that_are_only_jointly_infeasible(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made so by a target on which small networks are the slow ones."""
    from nas.search.costs import CandidateCosts

    real = CandidateCosts.of

    def opposed(self: CandidateCosts, vectors: Any) -> Any:
        costs = real(self, vectors)
        costs[:, 0] = 1e6 / costs[:, 1]
        return costs

    monkeypatch.setattr(CandidateCosts, "of", opposed)
    sizes = real(_candidate_costs(here), _candidate_costs(here).space.extremes())[:, 1]
    size, latency = f"{sizes.min() * 1.2 / 1e6}MB", 1e6 / sizes.max() * 1.2
    result = invoke("search", "--run", "run", "--max-size", size, "--max-latency", latency)
    assert result.code == 3
    assert result.message.count("reachable alone") == 2


def _candidate_costs(here: Path) -> Any:
    from predictors.targets.target import load_target

    return open_trained(Run(here / "run")).costs(load_target("cortex-a72"), "int8")


def test_a_corrupt_image_is_named_and_left_out(empty: Path) -> None:
    photos = write_photos(empty / "photos", count=8)
    half(photos / "pear" / "003.jpg")
    result = invoke("train-supernet", "--data", photos, "--out", "run", "--epochs", "0.1", "--workers", "0")
    assert result.code == 0, result.err  # and a batch of 128 is larger than these data
    assert "1 corrupt image left out (" in result.err
    assert "pear/003.jpg" in result.err
    assert sum(Run(empty / "run").read().data.counts.values()) == 3 * 8 - 1


@pytest.mark.parametrize(
    ("classes", "mode", "says"),
    [(CLASSES, "L", "1-channel images"), (("apple", "pear", "kiwi"), "RGB", "missing plum, unknown kiwi")],
)
def test_other_data_than_it_was_trained_on(here: Path, classes: tuple[str, ...], mode: str, says: str) -> None:
    photos = write_photos(here / "photos", classes, mode=mode)
    edit_json(here / "run" / "run.json", lambda c: c | {"config": c["config"] | {"source": str(photos)}})
    before = content(here)
    for words in (("search",), ("export",), ("evaluate", "best")):
        result = invoke(*words, "--run", "run")
        assert result.code == 1
        assert says in result.message
    assert content(here) == before
    unfinish(here / "run")
    result = invoke(*TRAIN, "--data", photos, "--out", "run")
    assert result.code == 1
    assert says in result.message


def test_the_data_are_gone(here: Path) -> None:
    edit_json(here / "run" / "run.json", lambda c: c | {"config": c["config"] | {"source": "/nowhere/photos"}})
    result = invoke("search", "--run", "run")
    assert result.code == 1
    assert "/nowhere/photos" in result.message


def test_several_targets_share_what_was_measured(here: Path) -> None:
    words = ["--run", "run", "--measurements", "4", "--compare", "none", "--objectives", "accuracy,latency"]
    both = invoke("search", *words, "--target", "cortex-a53,host", "--quiet", "--json")
    assert both.code == 0, both.err
    first, second = both.json
    assert [first["target"]["name"], second["target"]["name"]] == ["cortex-a53", "host"]
    assert second["measurements"]["prior"] >= 4
    assert second["measurements"]["new"] <= 4


def test_bounds_on_another_device_are_checked(here: Path) -> None:
    for given, code, words in (
        ("cortex-a53", 2, "TARGET=ms"),
        ("cortex-a53=fast", 2, "TARGET=ms"),
        ("cortex-a35=3", 2, "cortex-a53"),
        ("cortex-a72=3", 2, "this search's own target"),
        ("cortex-a53=0.000001", 3, "latency on cortex-a53"),
    ):
        result = invoke("search", "--run", "run", "--max-latency-on", given)
        assert result.code == code, (given, result.err)
        assert words in result.err
