"""Damage of a journal's file: it costs the damaged record alone, and is said with the line of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.candidates.candidate import Candidate
from nas.journal.journal import SEARCH, TEST, Journal, seconds_spent
from nas.tasks.classification import Accuracy
from search_spaces import get_space

SPACE = get_space("mbv3-tiny")
POOL = [Candidate(SPACE.decode(v), "int8") for v in np.unique(SPACE.sample(np.random.default_rng(0), 20), axis=0)][:4]
KNOWN, TESTED, NEW = POOL[:3], POOL[:1], POOL[3]
SETTINGS = '{"seed": 0}'


def accuracy_of(candidate: Candidate) -> Accuracy:
    return Accuracy(POOL.index(candidate), 10)


def fail(candidate: Candidate) -> Accuracy:
    raise AssertionError(f"{candidate.id} is measured again")


def write(where: Path, test_first: bool = False) -> list[bytes]:
    """A journal of three measurements on the search split and one on the test split; its lines."""
    journal = Journal(where, SPACE, "weights")
    if test_first:
        journal.measure_all(TESTED, accuracy_of, "x", split=TEST)
    journal.begin(SETTINGS)
    journal.measure_all(KNOWN, accuracy_of, "x")
    journal.measure_all(TESTED, accuracy_of, "x", split=TEST)
    return where.read_bytes().splitlines(keepends=True)


def is_measurement(line: bytes) -> bool:
    return b'"architecture"' in line


def read(where: Path) -> tuple[list[Candidate], list[Candidate]]:
    """What a journal knows of each split, after checking that it holds the right values and can be added to."""
    journal = Journal(where, SPACE, "weights")
    known = []
    for split in (SEARCH, TEST):
        scores = [(c, journal.recall(c, lambda c: Accuracy(9, 9), "looked for", split)) for c in KNOWN]
        known.append([c for c, score in scores if score != Accuracy(9, 9)])
        assert all(score in (accuracy_of(c), Accuracy(9, 9)) for c, score in scores)
    journal.begin(SETTINGS)
    journal.recall(NEW, accuracy_of, "x")
    assert Journal(where, SPACE, "weights").recall(NEW, fail, "x") == accuracy_of(NEW)
    return known[0], known[1]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda line: b"\n",
    "spaces": lambda line: b"   \n",
    "nulls": lambda line: bytes(len(line) - 1) + b"\n",
    "half": lambda line: line[: len(line) // 2] + b"\n",
    "other half": lambda line: line[len(line) // 2 :],
    "binary": lambda line: bytes(range(11, 256)) + b"\n",
    "half a character": lambda line: line[:40] + b"\xe3\x81" + line[40:],
    "list": lambda line: b"[]\n",
    "number": lambda line: b"3\n",
    "unknown operation": lambda line: b'{"op_code":99,"worker_id":"x"}\n',
    "no fields": lambda line: line[: line.index(b",")] + b"}\n",
    "deep": lambda line: b"[" * 100_000 + b"\n",
    "types": lambda line: b'{"op_code":4,"worker_id":"x","study_id":0,"datetime_start":5,"state":1,"value":"x"}\n',
    "other names": lambda line: line.replace(b"architecture", b"architektur").replace(b"study_name", b"name"),
}


@pytest.mark.parametrize(
    ("damage", "test_first", "each"),
    [("empty", True, 1), ("other names", False, 1), *((name, False, 5) for name in DAMAGE)],
)
def test_a_damaged_line_costs_itself_alone_wherever_it_is(
    damage: str, test_first: bool, each: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``each``: of how many lines one is damaged, in turn."""
    lines = write(tmp_path / "whole.log", test_first)
    for number, line in list(enumerate(lines))[::each]:
        where = tmp_path / f"{number}.log"
        content = b"".join([*lines[:number], DAMAGE[damage](line), *lines[number + 1 :]])
        where.write_bytes(content)
        search, test = read(where)
        assert len(search) + len(test) == len(KNOWN) + len(TESTED) - is_measurement(line), (number, line)
        told = capsys.readouterr().err
        if DAMAGE[damage](line) != line:
            assert f"{where}: line {number + 1} is left out (" in told
        assert where.read_bytes().startswith(content)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_rubbish_between_records_costs_nothing(tmp_path: Path, data: st.DataObject) -> None:
    where = tmp_path / "journal.log"
    where.unlink(missing_ok=True)
    lines = write(where)
    for _ in range(data.draw(st.integers(1, 3))):
        rubbish = data.draw(st.binary(max_size=30)).replace(b"\n", b"") + data.draw(st.sampled_from([b"\n", b""]))
        lines.insert(data.draw(st.integers(0, len(lines))), rubbish)
    where.write_bytes(b"".join(lines))
    assert read(where) == (KNOWN, TESTED)


@pytest.mark.parametrize("joined", [b"", b"\0\0", b'{"op_code": 4, "worker_id": "kill'])
def test_records_whose_lines_run_together_are_kept(tmp_path: Path, joined: bytes) -> None:
    """As where a writer died in the middle of a line, or a line break was lost."""
    lines = write(tmp_path / "whole.log")
    for number in range(0, len(lines) - 1, 3):
        where = tmp_path / f"{number}.log"
        where.write_bytes(b"".join([*lines[:number], lines[number].rstrip(), joined, *lines[number + 1 :]]))
        assert read(where) == (KNOWN, TESTED), number


@pytest.mark.parametrize("test_first", [False, True])
def test_a_line_that_is_gone_costs_itself_alone(tmp_path: Path, test_first: bool) -> None:
    """The record that begins a study among them: what follows still belongs to it."""
    lines = write(tmp_path / "whole.log", test_first)
    for number, line in enumerate(lines):
        where = tmp_path / f"{number}.log"
        where.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        search, test = read(where)
        assert len(search) + len(test) == len(KNOWN) + len(TESTED) - is_measurement(line), (number, line)


def test_a_repeated_line_counts_once(tmp_path: Path) -> None:
    lines = write(tmp_path / "whole.log")
    for number in range(len(lines)):
        where = tmp_path / f"{number}.log"
        where.write_bytes(b"".join([*lines[: number + 1], lines[number], *lines[number + 1 :]]))
        assert read(where) == (KNOWN, TESTED), number


def test_a_whole_last_record_without_a_line_break_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "journal.log"
    journal = Journal(where, SPACE, "weights")
    for candidate in KNOWN:
        journal.add(candidate, accuracy_of(candidate), 0.1, "x")
    content = where.read_bytes()
    where.write_bytes(content[:-1])
    assert len(Journal(where, SPACE, "weights")) == len(KNOWN)
    assert where.read_bytes() == content
    assert capsys.readouterr().err == ""


def test_many_damaged_lines_are_one_message_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "journal.log"
    lines = write(where)
    where.write_bytes(b"".join(b"\n" + line for line in lines))
    for _ in range(2):
        Journal(where, SPACE, "weights")
        seconds_spent(where, SEARCH)
    (told,) = capsys.readouterr().err.splitlines()
    assert f"line 1, line 3, line 5, line 7, line 9 and {len(lines) - 5} more are left out (it is empty)" in told
    assert told.endswith(f"the file stays as it is, and the other {len(lines)} records count")


def test_edited_on_another_system_nothing_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "journal.log"
    where.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(line.rstrip() for line in write(where)) + b"\r\n")
    assert read(where) == (KNOWN, TESTED)
    assert capsys.readouterr().err == ""


def test_a_report_counts_the_good_records(tmp_path: Path) -> None:
    where = tmp_path / "journal.log"
    lines = write(where)
    number = next(n for n, line in enumerate(lines) if is_measurement(line))
    lines[number] = json.dumps({"op_code": 7}).encode() + b"\n"
    where.write_bytes(b"".join(lines))
    assert len(seconds_spent(where, SEARCH)) == len(KNOWN) - 1
    assert where.read_bytes() == b"".join(lines)
