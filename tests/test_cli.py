"""The command line as a user meets it: conventions, bad flags, bad data."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import CLASSES, SEARCH, TRAIN, content, edit_json, half, invoke, train_words, unfinish, write_photos

import cli
from nas.run import Run
from nas.workflow import open_trained

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


def test_json_of_a_finished_training_and_of_an_export(here: Path, finished: Path) -> None:
    assert invoke(*train_words(finished), "--json").json["complete"] is True
    (exported,) = invoke("export", "--run", "run", "--json").json
    assert (Path(exported["path"]) / "architecture.json").exists()
    assert [r["split"] for r in exported["results"]] == ["search", "test", "test"]


@pytest.mark.parametrize("command", ["spaces", "targets"])
def test_json_of_lists(command: str) -> None:
    result = invoke(command, "--json")
    assert {"cortex-a72", "mbv3-tiny"} & {row["name"] for row in result.json}
    assert result.err == ""


def test_a_target_in_full() -> None:
    """Device, runtime, memory, and a label and a source for every precision."""
    shown = invoke("targets", "cortex-m7").out
    facts = invoke("targets", "cortex-m7", "--json").json
    for text in (facts["description"], facts["runtime"], *facts["latency"].values(), *facts["sources"].values()):
        assert text in shown
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
    assert last.split()[2] in ("train-supernet", "search", "export", "evaluate")
    assert "next:" not in result.out


def test_flags_win_over_environment_over_config(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "run.toml").write_text("epochs = 3\nbatch-size = 100\nspace = 'mbv3-tiny'\n")
    words = ("train-supernet", "--dry-run", "--json", "--config", "run.toml")
    assert invoke(*words).json["steps"] == 3 * 120  # 12,000 training images
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_EPOCHS", "2")
    assert invoke(*words).json["steps"] == 2 * 120
    assert invoke(*words, "--epochs", "1").json["steps"] == 120
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_CONFIG", "run.toml")
    assert invoke(*words[:3]).json["steps"] == 2 * 120


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
    before = content(here)
    for words in (train_words(finished), (*SEARCH, "--run", "run"), ("export", "--run", "run")):
        assert invoke(*words).code == 0
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
    assert "default: mbv3-tiny" in text


def test_debug_shows_where(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--debug", "search", "--run", "nowhere"])
    with pytest.raises(Exception, match="no run directory"):
        cli.main()


# bad input


BAD_FLAGS: list[tuple[tuple[object, ...], int, str]] = [
    (("train-supernet", "--data", "nowhere"), 1, "no data folder 'nowhere'"),
    (("train-supernet", "--data", "embeded"), 1, "did you mean 'embedded'"),
    (("train-supernet", "--data", "nothing"), 1, "holds no images"),
    (("train-supernet", "--data", "single"), 1, "one class only, 'apple'"),
    (("train-supernet", "--data", "torch/cifar10"), 1, "needs"),
    (("train-supernet", "--space", "mbv3-tini"), 2, "did you mean 'mbv3-tiny'"),
    (("train-supernet", "--strategy", "sandwhich"), 2, "did you mean 'sandwich'"),
    (("train-supernet", "--optimizer", "adamwe"), 2, "did you mean 'adamw'"),
    (("train-supernet", "--augment", "stron"), 2, "did you mean 'strong'"),
    (("train-supernet", "--device", "cdua"), 2, "auto, cpu or cuda"),
    (("train-supernet", "--seed", "-1"), 2, "--seed"),
    (("train-supernet", "--epochs", "many"), 2, "--epochs"),
    (("train-supernet", "--epochs", "nan"), 2, "epochs"),
    (("train-supernet", "--epochs", "inf"), 2, "epochs is inf"),
    (("train-supernet", "--lr", "nan"), 2, "lr"),
    (("train-supernet", "--lr", "0"), 2, "lr is 0"),
    (("train-supernet", "--clip-norm", "0"), 2, "clip-norm is 0"),
    (("train-supernet", "--batch-size", "0"), 2, "--batch-size"),
    (("train-supernet", "--epoch", "3"), 2, "--epochs"),
    (("train-supernet", "--config", "nowhere.toml"), 2, "nowhere.toml does not exist"),
    (("train-supernet", "--config", "key.toml"), 2, "did you mean 'epochs'"),
    (("train-supernet", "--config", "broken.toml"), 2, "is no TOML file"),
    (("train-supernet", "--config", "type.toml"), 2, "--epochs"),
    (("train-supernet", "--config", "nothing"), 1, "nothing"),
    (("search", "--target", "cortx-a72"), 2, "did you mean 'cortex-a72'"),
    (("search", "--target", "mine.toml"), 2, "no target file 'mine.toml'"),
    (("search", "--precision", "int9"), 2, "did you mean 'int8'"),
    (("search", "--measurements", "0"), 2, "--measurements"),
    (("search", "--measurements", "3"), 2, "--measurements"),
    (("search", "--max-latency", "0.0001"), 3, "not reachable: the smallest is"),
    (("search", "--max-latency", "nan"), 2, "--max-latency"),
    (("search", "--run", "nowhere"), 1, "no run directory"),
    (("export", "deadbeef", "--run", "run"), 2, "unexpected extra argument"),
    (("export", "--candidate", "deadbeef"), 2, "not on the front; there are: "),
    (("export", "--target", "host"), 1, "no finished search"),
    (("evaluate", "deadbeef"), 2, "not on the front"),
    (("evaluate", "missing.onnx"), 1, "missing.onnx"),
    (("evaluate", "garbage.onnx"), 1, "'garbage.onnx' is not a readable ONNX file"),
    (("evaluate", "missing.json"), 1, "missing.json does not exist"),
    (("evaluate", "{broken"), 1, "is no architecture"),
    (("evaluate", '{"space": "mbv3-tiny", "genes": {}}'), 1, "gene"),
    (("evaluate", "--split", "tset"), 2, "did you mean 'test'"),
    (("evaluate", "--precision", "int9"), 2, "did you mean 'int8'"),
    (("spaces", "mbv3-tini"), 2, "did you mean 'mbv3-tiny'"),
    (("serach",), 2, "'search'"),
]


@pytest.mark.parametrize(("words", "code", "says"), BAD_FLAGS, ids=lambda v: " ".join(v) if type(v) is tuple else None)
def test_bad_flags(here: Path, words: tuple[str, ...], code: int, says: str) -> None:
    (here / "nothing").mkdir()
    write_photos(here / "single", ("apple",), 3)
    (here / "key.toml").write_text("epoch = 3")
    (here / "broken.toml").write_text("epochs = ")
    (here / "type.toml").write_text("epochs = 'many'")
    (here / "garbage.onnx").write_bytes(b"no network")
    before = content(here)
    if words[0] in ("search", "export", "evaluate") and "--run" not in words:
        words = (*words, "--run", "run")
    result = invoke(*words)
    assert result.code == code, result.err
    assert says in result.message
    assert content(here) == before


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
    assert "size <= 100 MB is reachable alone" in found.message
    assert invoke("search", "--run", "run", "--max-latency", least * 0.99).code == 3
    assert invoke("search", "--run", "run", "--max-latency", least * 1.01, "--dry-run").code == 0


def test_bounds_that_are_only_jointly_infeasible(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made so by a target on which small networks are the slow ones."""
    from nas.objectives import CandidateCosts

    real = CandidateCosts.of

    def opposed(self: CandidateCosts, vectors: Any) -> Any:
        costs = real(self, vectors)
        costs[:, 0] = 1e6 / costs[:, 1]
        return costs

    monkeypatch.setattr(CandidateCosts, "of", opposed)
    sizes = real(_candidate_costs(here), _candidate_costs(here).space.extremes())[:, 1]
    size, latency = sizes.min() * 1.2 / 1e6, 1e6 / sizes.max() * 1.2
    result = invoke("search", "--run", "run", "--max-size", size, "--max-latency", latency)
    assert result.code == 3
    assert result.message.count("reachable alone") == 2


def _candidate_costs(here: Path) -> Any:
    from predictors.target import load_target

    return open_trained(Run(here / "run")).costs(load_target("cortex-a72"), "int8")


def test_a_corrupt_image_is_named_and_left_out(empty: Path) -> None:
    photos = write_photos(empty / "photos", count=8)
    half(photos / "pear" / "003.jpg")
    result = invoke("train-supernet", "--data", photos, "--out", "run", "--epochs", "0.1", "--workers", "0")
    assert result.code == 0, result.err  # and a batch of 128 is larger than these data
    assert "1 corrupt image left out: pear/003.jpg" in result.err
    assert sum(Run(empty / "run").read()["data"]["counts"].values()) == 3 * 8 - 1


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
        ("cortex-a72=3", 2, "is what this search is for"),
        ("cortex-a53=0.000001", 3, "latency on cortex-a53"),
    ):
        result = invoke("search", "--run", "run", "--max-latency-on", given)
        assert result.code == code, (given, result.err)
        assert words in result.err
