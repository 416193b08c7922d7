"""Damaged files, full and read-only disks, interruption: what is said, and what is intact afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nas.candidates.ship
import nas.runtimes.table
import nas.store.files
import nas.training.loop
from nas.store.run import Run
from tests.support.cli_runs import SEARCH, TRAIN, content, half, invoke, train_words, unfinish
from tests.support.long_forms import long_form
from tests.support.stopping import Acts, interrupt

# damage


def test_other_settings_for_a_run(here: Path, finished: Path) -> None:
    before = content(here)
    result = invoke(*train_words(finished), "--lr", "0.0123")
    assert result.code == 2
    assert "there, 0.0123 here" in result.message
    assert content(here) == before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(here: Path, finished: Path) -> None:
    """...and training ends with the very weights it would have had."""
    expected = nas.store.files.load_tensors(here / "run" / "supernet.safetensors")[0]
    unfinish(here / "run")
    half(here / "run" / "checkpoint.safetensors")
    result = invoke(*train_words(finished))
    assert result.code == 0, result.err
    assert "continuing from checkpoint.previous.safetensors" in result.err
    found = nas.store.files.load_tensors(here / "run" / "supernet.safetensors")[0]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_no_readable_checkpoint(here: Path, finished: Path) -> None:
    unfinish(here / "run")
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        half(here / "run" / name)
    before = content(here)
    result = invoke(*train_words(finished), "--quiet")
    assert result.code == 1
    assert "checkpoint.safetensors is damaged" in result.message
    assert "To train again" in result.message
    assert content(here) == before


def test_a_damaged_supernet(here: Path) -> None:
    supernet = here / "run" / "supernet.safetensors"
    expected = supernet.read_bytes()
    half(supernet)
    for words in (("search", "--target", "host"), ("export",), ("evaluate", "best")):
        result = invoke(*words, "--run", "run")
        assert result.code == 1
        assert "supernet.safetensors is damaged" in result.message
    hint = result.message.split("write it again: nas ")[1]
    assert invoke(*hint.split()).code == 0
    assert supernet.read_bytes() == expected
    assert invoke("evaluate", "best", "--run", "run", "--split", "search").code == 0


@pytest.mark.parametrize(
    "text", ['{"config": {"spa', "[]", "{}", '{"config": {"colour": 1}, "data": {}, "complete": true}', "\xff"]
)
def test_a_damaged_run_json(here: Path, finished: Path, text: str) -> None:
    (here / "run" / "run.json").write_bytes(text.encode("latin-1"))
    commands = [("search", "--run", "run"), ("export", "--run", "run"), ("evaluate", "best", "--run", "run")]
    for words in (*commands, *([] if "colour" in text else [train_words(finished)])):
        result = invoke(*words)
        assert result.code == 1, result.err
        assert "run.json is damaged" in result.message


def test_a_damaged_result_of_a_search(here: Path) -> None:
    name = "search-cortex-a72.json"
    expected = (here / "run" / name).read_bytes()
    half(here / "run" / name)
    result = invoke("export", "--run", "run")
    assert result.code == 1
    assert f"{name} is damaged" in result.message
    assert "remove" in result.message
    assert invoke(*SEARCH, "--run", "run").code == 0  # the journal has all that the result is made of
    assert (here / "run" / name).read_bytes() == expected


def test_a_run_in_use(here: Path, finished: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from nas.store.run import Run\n"
         "with Run(Path('run')).locked(): print('held', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = content(here / "run")
        for command in ("search", "export", "finetune"):
            result = invoke(command, "--run", "run")
            assert result.code == 1
            assert f"in use by another nas process (process {holder.pid})" in result.message
            assert "--out" not in result.message
        assert content(here / "run") == before
        assert invoke("evaluate", "best", "--run", "run").code == 0  # changes nothing that others write
    finally:
        holder.kill()
        holder.wait()


def test_out_of_order(here: Path) -> None:
    (here / "run" / "search-cortex-a72.json").unlink()
    for words in (("export",), ("evaluate", "best")):
        result = invoke(*words, "--run", "run")
        assert result.code == 1
        assert "no finished search; start one: nas search --run run" in result.message
    (here / "run" / "supernet.safetensors").unlink()
    result = invoke("search", "--run", "run")
    assert result.code == 1
    assert "not trained to the end" in result.message
    assert invoke(*result.message.split("continue it: nas ")[1].split()).code == 0
    assert invoke("search", "--run", "run", "--print-config").code == 0


@pytest.mark.parametrize("package", long_form(["onnxruntime"], ["onnx", "onnxscript"]))
def test_export_without_the_onnx_extra(here: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    before = content(here)
    result = invoke("export", "--run", "run", "--out", "new", "--format", "onnx")
    assert result.code == 1
    assert f"'{package}'; in the clone: pip install -c constraints.txt '.[onnx]'" in result.message
    assert {k: v for k, v in content(here).items() if not k.startswith("new/")} == before


# disks


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """``mounted(options)`` mounts a tmpfs of its own."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("needs the right to mount a tmpfs")
        return place

    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    yield mount
    while place.is_mount():
        subprocess.run(["umount", "-l", place], check=True)


def test_the_disk_is_full_while_training(finished: Path, mounted: Callable[..., Path], empty: Path) -> None:
    disk = mounted("size=1m")  # run.json fits, a checkpoint does not
    words = (*TRAIN, "--data", finished / "photos", "--out", disk / "run")
    result = invoke(*words, "--quiet")
    assert result.code == 1
    assert "the disk is full" in result.message
    assert not [p for p in (disk / "run").rglob("*") if p.suffix == ".tmp"]
    assert Run(disk / "run").read().complete is False
    subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
    assert invoke(*words).code == 0
    expected = nas.store.files.load_tensors(finished / "run" / "supernet.safetensors")[0]
    found = nas.store.files.load_tensors(disk / "run" / "supernet.safetensors")[0]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_disk_is_full_while_exporting(here: Path, mounted: Callable[..., Path]) -> None:
    disk, before = mounted("size=20k"), content(here / "run")
    result = invoke("export", "--run", "run", "--out", disk / "new")
    assert result.code == 1
    assert "the disk is full" in result.message
    assert not [p for p in disk.rglob("*") if p.suffix == ".tmp"]
    assert content(here / "run") == before


def test_a_read_only_directory(here: Path, finished: Path, mounted: Callable[..., Path]) -> None:
    disk = mounted("size=50m")
    shutil.copytree(here / "run", disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for words in (
        (*TRAIN, "--data", finished / "photos", "--out", disk / "new"),
        ("search", "--run", disk / "run", "--target", "host"),
        ("export", "--run", disk / "run"),
        ("export", "--run", "run", "--out", disk / "new"),
    ):
        result = invoke(*words, "--quiet")
        assert result.code == 1
        assert "Read-only file system" in result.message
        assert str(disk) in result.message


# interruption


def test_ctrl_c_while_training_and_the_same_command_again(finished: Path, empty: Path, at_steps: Acts) -> None:
    words = (*TRAIN, "--data", finished / "photos", "--out", "run")
    at_steps.append((2, interrupt))
    result = invoke(*words)
    assert result.code == 130
    last = result.err.strip().splitlines()[-1]
    assert last.endswith(f"nas {' '.join(map(str, words))}")
    assert not Run(empty / "run").supernet.exists()
    assert invoke(*words).code == 0
    expected = nas.store.files.load_tensors(finished / "run" / "supernet.safetensors")[0]
    found = nas.store.files.load_tensors(empty / "run" / "supernet.safetensors")[0]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_ctrl_c_while_searching(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (here / "run" / "search-cortex-a72.json").read_bytes()
    for name in ("journal.log", "search-cortex-a72.json"):
        (here / "run" / name).unlink()
    calls = []
    measure = nas.candidates.ship.measure

    def interrupting(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("nas.workflows.search.measure", interrupting)
        result = invoke(*SEARCH, "--run", "run")
    assert result.code == 130
    assert result.err.strip().splitlines()[-1].endswith("nas search --measurements 4 --run run")
    assert invoke(*SEARCH, "--run", "run").code == 0
    assert (here / "run" / "search-cortex-a72.json").read_bytes() == expected
