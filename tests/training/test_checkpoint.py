"""Checkpoints, the journal and the run lock when files are cut short, damaged or refused by the disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import nn

from nas.candidates.candidate import Candidate
from nas.journal.journal import Journal
from nas.store import files
from nas.store.files import atomic_write, load_tensors, save_tensors
from nas.store.records import DataInfo, RunRecord
from nas.store.run import Run
from nas.tasks.classification import Accuracy
from nas.training import checkpoint
from search_spaces import get_space
from search_spaces.errors import UserError

SPACE = get_space("mbv3-tiny")


INFO = DataInfo("embedded", ("a", "b"), 1, (0.5,), (0.5,), 28, {"train": 8, "search": 2, "test": 2}, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def _save(run: Run, step: int) -> None:
    """A small state whose numbers tell its step."""
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, step)
    optimizer = torch.optim.AdamW(model.parameters(), lr=step / 7)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    average = {name: tensor + 0.5 for name, tensor in model.state_dict().items()}
    checkpoint.save(run, checkpoint.capture(step, model, optimizer, average, 1.5 * step))


def _step(run: Run) -> tuple[int, str]:
    state, warning = checkpoint.load(run)
    assert state is not None
    weight = state.model["weight"]
    assert torch.equal(state.average["weight"], weight + 0.5)
    assert (weight / state.step - 1).abs().max() < 0.2  # one step of AdamW away
    assert state.groups[0]["lr"] == state.step / 7
    return state.step, warning


def _leftovers(path: Path) -> list[Path]:
    return list(path.rglob("*.tmp"))


# Checkpoints


def test_nothing_saved_is_no_error(run: Run) -> None:
    assert checkpoint.load(run) == (None, "")


def test_what_is_saved_is_loaded_bit_for_bit(run: Run) -> None:
    """Weights, optimizer and average go on exactly as those that were never written."""
    torch.manual_seed(0)
    inputs = torch.randn(8, 5)

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()

    kept, kept_optimizer = build()
    for _ in range(3):
        step(kept, kept_optimizer)
    checkpoint.save(run, checkpoint.capture(3, kept, kept_optimizer, {}, 0.0))
    read, read_optimizer = build()
    state, _ = checkpoint.load(run)
    assert state is not None
    read.load_state_dict(state.model)
    read_optimizer.load_state_dict({"state": state.slots, "param_groups": state.groups})
    for _ in range(3):
        step(kept, kept_optimizer)
        step(read, read_optimizer)
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, read.state_dict()[name]), name


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    """The hash of the weights names them in the journal: the same training shall give the same."""
    tensors = {f"layer{i}.weight": torch.full((i + 1,), float(i)) for i in range(6)}
    metadata = {f"key{i}": {"value": i} for i in range(6)}
    for name in "ab":
        save_tensors(tmp_path / name, tensors, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_tensors(tmp_path / "a")[1] == metadata


@pytest.mark.parametrize("kept", [0.0, 0.03, 0.5, 0.999])
def test_a_truncated_checkpoint_falls_back_to_the_one_before(run: Run, kept: float) -> None:
    _save(run, 1)
    _save(run, 2)
    content = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(content[: int(kept * len(content))])
    step, warning = _step(run)
    assert step == 1
    assert str(run.checkpoint) in warning
    assert "step 1" in warning


@pytest.mark.parametrize("name", ["run.json", "checkpoint.safetensors"])
def test_what_a_newer_version_wrote_is_named_as_such(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as later:
        later.setattr(files, "FORMAT", files.FORMAT + 1)
        later.setattr("nas.store.run.FORMAT", files.FORMAT)
        run.write(RunRecord(config={}, data=INFO, complete=False))
        _save(run, 3)
    fix = "upgrade: git pull, then in the clone: pip install "
    with pytest.raises(UserError, match=rf"{name} was written by a newer nas .*{fix}"):
        run.read() if name == "run.json" else checkpoint.load(run)


def test_a_newer_checkpoint_is_not_given_up_for_an_older_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(run, 2)
    with monkeypatch.context() as later:
        later.setattr(files, "FORMAT", files.FORMAT + 1)
        _save(run, 3)
    with pytest.raises(UserError, match=r"was written by a newer nas .*upgrade: git pull, then "):
        checkpoint.load(run)


def test_any_flipped_bit_is_harmless_or_seen(run: Run) -> None:
    """A flipped bit anywhere in the file is seen, unless the content read from it is the same for all that."""
    _save(run, 1)
    _save(run, 2)
    content = run.checkpoint.read_bytes()
    tensors, metadata = load_tensors(run.checkpoint)
    rng, seen = np.random.default_rng(0), 0
    header = int.from_bytes(content[:8], "little") + 8
    for place in [*rng.integers(0, header, 150), *rng.integers(header, len(content), 50)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        run.checkpoint.write_bytes(damaged)
        step, warning = _step(run)
        assert (step == 1) == bool(warning)
        if step == 2:
            found, facts = load_tensors(run.checkpoint)
            assert facts == metadata
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        seen += step == 1
    assert seen > 190


def test_two_damaged_checkpoints_are_an_error_that_says_what_to_do(run: Run) -> None:
    _save(run, 1)
    _save(run, 2)
    for path in (run.checkpoint, run.previous):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is damaged.*To train again, remove") as caught:
        checkpoint.load(run)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("renames", [0, 1])
def test_a_crash_around_the_renames_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """Killed before the first, or between the two renames that follow the writing of a checkpoint."""
    _save(run, 1)
    _save(run, 2)
    real = Path.replace
    done: list[Path] = []

    def crash(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(self)
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            _save(run, 3)
    assert (run.path / "checkpoint.new.safetensors").exists()
    assert run.checkpoint.exists() == (renames == 0)
    assert _step(run) == (3, "")
    _save(run, 4)
    assert _step(run) == (4, "")
    assert not (run.path / "checkpoint.new.safetensors").exists()
    run.checkpoint.unlink()
    assert _step(run)[0] < 4  # and there is one to fall back to


# Full disk


def test_atomic_write_replaces_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old" * 1000, b"new", b""):
        atomic_write(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    atomic_write(path, b"old")
    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_keeps_the_earlier_checkpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _save(run, 1)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            _save(run, 2)
    assert _step(run) == (1, "")
    assert not _leftovers(run.path)
    _save(run, 2)
    assert _step(run) == (2, "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(path)]
    if not mount or os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    run = Run(small_disk)
    _save(run, 1)
    before = run.checkpoint.read_bytes()
    (small_disk / "big").write_bytes(bytes(80_000))
    large = nn.Linear(100, 100)
    with pytest.raises(OSError, match="No space") as caught:
        checkpoint.save(run, checkpoint.capture(2, large, torch.optim.SGD(large.parameters()), {}, 0.0))
    assert caught.value.errno == errno.ENOSPC
    assert run.checkpoint.read_bytes() == before
    assert _step(run) == (1, "")
    assert not _leftovers(small_disk)


def test_a_full_disk_costs_the_journal_one_measurement_at_most(small_disk: Path) -> None:
    path = small_disk / "journal.log"
    journal = _journal(path)
    candidates = _candidates(60)
    (small_disk / "big").write_bytes(bytes(60_000))
    with contextlib.suppress(OSError):
        for i, candidate in enumerate(candidates):
            journal.add(candidate, Accuracy(i, 100), 0.1, "first")
    added = len(journal)
    assert 0 < added < 60
    (small_disk / "big").unlink()
    again = _journal(path)
    assert again.items() == [(c, Accuracy(i, 100)) for i, c in enumerate(candidates[:added])]
    again.add(candidates[added], Accuracy(1, 2), 0.1, "first")
    assert len(_journal(path)) == added + 1


# The journal


def _candidates(n: int) -> list[Candidate]:
    vectors = SPACE.sample(np.random.default_rng(0), n)
    return list(dict.fromkeys(Candidate(SPACE.decode(v), "int8") for v in vectors))


def _journal(path: Path, weights: str = "0123456789abcdef") -> Journal:
    return Journal(path, SPACE, weights)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A journal of three measurements."""
    path = tmp_path / "journal.log"
    journal = _journal(path)
    for i, candidate in enumerate(_candidates(3)):
        journal.add(candidate, Accuracy(i, 10), 0.1, "first")
    return path


def test_measurements_survive_a_torn_last_line_at_any_byte(filled: Path) -> None:
    """Cut within the last line, the journal loses that measurement only, and goes on."""
    content, candidates = filled.read_bytes(), _candidates(3)
    start = content.rfind(b"\n", 0, -1) + 1
    for end in {*range(start, len(content), 37), start + 1, len(content) - 2}:
        filled.write_bytes(content[:end])
        journal = _journal(filled)
        assert journal.items() == [(c, Accuracy(i, 10)) for i, c in enumerate(candidates[:2])], end
        journal.add(candidates[2], Accuracy(7, 10), 0.1, "first")
        assert _journal(filled).get(candidates[2]) == Accuracy(7, 10)
        for line in filled.read_bytes().splitlines():
            json.loads(line)


@pytest.mark.parametrize("tail", [bytes(40), b"{]", b'{"op_code": 4, '], ids=["zeros", "rubbish", "half"])
def test_an_unfinished_last_line_is_cut(filled: Path, tail: bytes) -> None:
    content = filled.read_bytes()
    filled.write_bytes(content + tail)
    assert len(_journal(filled)) == 3
    assert filled.read_bytes().startswith(content)
    for line in filled.read_bytes().splitlines():
        json.loads(line)


def test_a_journal_cut_anywhere_while_it_began_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    _journal(path)
    content = path.read_bytes()
    for end in range(0, len(content) + 1, 5):
        path.write_bytes(content[:end])
        _journal(path)
        _journal(path)
        study = optuna.load_study(study_name="accuracy", storage=JournalStorage(JournalFileBackend(str(path))))
        assert study.user_attrs == {"space": SPACE.name, "weights": "0123456789abcdef"}, end


def test_a_journal_of_other_weights_is_refused_with_both_names(filled: Path) -> None:
    with pytest.raises(UserError, match=r"0123456789abcdef.*fedcba9876543210"):
        _journal(filled, weights="fedcba9876543210")
    with pytest.raises(UserError, match=r"mbv3-tiny.*mbv3-large"):
        Journal(filled, get_space("mbv3-large"), "0123456789abcdef")
    assert len(_journal(filled)) == 3


# One process at a time


HOLD = """
import os, sys, time
from pathlib import Path
from nas.store.run import Run
with Run(Path(sys.argv[1])).locked():
    if "--orphan" in sys.argv and os.fork() == 0:
        time.sleep(2)  # a child that outlives its parent for a while, as a data loading process does
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def _hold(path: Path, *more: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.mark.parametrize("more", [(), ("--orphan",)], ids=["alone", "with a child"])
def test_a_held_run_is_refused_and_free_once_its_holder_is_killed(run: Run, more: tuple[str, ...]) -> None:
    holder = _hold(run.path, *more)
    try:
        began = time.monotonic()
        with pytest.raises(UserError, match=rf"in use by another nas process \(process {holder.pid}\)"), run.locked():
            pass
        assert time.monotonic() - began < 20  # refused at once, not after waiting
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with run.locked():
        assert (run.path / ".owner").read_text() == str(os.getpid())
    with run.locked():
        pass


def test_a_second_handle_of_the_same_process_is_refused(run: Run) -> None:
    pattern = rf"in use by another nas process \(process {os.getpid()}\)"
    with run.locked():
        with pytest.raises(UserError, match=pattern), Run(run.path).locked():
            pass
        with pytest.raises(UserError, match=pattern), Run(run.path).locked():
            pass


def test_what_a_killed_writer_left_is_removed(run: Run) -> None:
    left = run.path / "export" / "x" / ".model.safetensors.4711.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    (run.path / ".checkpoint.new.safetensors.4711.tmp").write_bytes(b"half")
    save_tensors(run.supernet, {"a": torch.ones(2)}, {})
    with run.locked():
        assert not _leftovers(run.path)
        assert run.supernet.exists()
