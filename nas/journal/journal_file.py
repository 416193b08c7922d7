"""The journal's file, in Optuna's format, which outlives damage: a line that cannot be read costs itself alone.

Optuna's own reader ends at the first line that it cannot read. Here such a line stays where it is and is left out, with
its number in the file, and a whole record inside it is kept. Optuna counts trials and studies as they begin, and later
records name them by that number. Without the record of a trial, later ones have another number, which harms claims
alone, and those end by themselves. Without the record of a study, all that follows would belong to another one, so the
study is put back: see :func:`find_lost_studies`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection

from search_spaces.errors import presentable
from search_spaces.schema import convert

LOCK_SECONDS = 10.0
"""Seconds to wait for another process that holds the lock of a storage."""
ACCURACY = "accuracy"
"""Name of the study of the search split, which is begun first; those of the others begin with it."""
_OTHER_STUDIES = {"candidate": f"{ACCURACY} claims", "topic": f"{ACCURACY} agreements"}
"""A fact that the trials of a study have -> the study; trials of the test split have those of measurements."""
_BEGINS_STUDY, _NOTES_OF_STUDY, _BEGINS_TRIAL = 0, 2, 4  # Optuna's operations
_START = b'{"op_code":'
_SHOWN = 5  # places named in one message
_told: set[tuple[str, str]] = set()
"""Journals and places in them that this process has spoken of."""


@dataclass(frozen=True)
class _Fields:
    """What every record has."""

    op_code: int
    worker_id: str
    study_id: object = None
    user_attrs: object = None


@dataclass(frozen=True)
class _Study:
    """What a record that begins a study has too."""

    study_name: str
    directions: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """A record: the number of its operation, the study that it belongs to (None: it names none), names of the facts in
    it, the study that it begins (empty: it begins none), and all of it as JSON."""

    operation: int
    study: int | None
    facts: tuple[str, ...]
    begins: str
    content: object


class JournalFile(BaseJournalBackend):
    """A file of records, a line each, for Optuna's ``JournalStorage``.

    Args:
        path: of the file, which is made where it may be changed.
        change: whether it may be; it then ends in a whole line from here on.

    Raises:
        OSError: it cannot be read or written.
        filelock.Timeout: another process has held its lock for too long; also from :meth:`append_logs`.
    """

    def __init__(self, path: Path, change: bool) -> None:
        self.path = path
        self.damage: dict[int, str] = {}
        self._lock = FileLock(f"{path}.lock")
        if change:
            with self._lock.acquire(timeout=LOCK_SECONDS):
                path.touch()
                mend_tail(path)
        self._lost = find_lost_studies(path.read_bytes().split(b"\n"))
        self._records = self._line = self._offset = 0
        self._refused: set[int] = set()
        self._studies: set[str] = set()
        self._trials: dict[int | None, list[int]] = {}
        self._muted = True

    def read_logs(self, log_number_from: int) -> Iterator[object]:
        """Records from one number on. Optuna reads on from where it was; what it reads when it is made itself is
        nothing, so that :meth:`leave_out` can be called for the first record too."""
        if self._muted:
            self._muted = False
            return
        if log_number_from != self._records:
            raise AssertionError(f"record {log_number_from} was asked for, {self._records} is next")
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            for text in file:
                if not text.endswith(b"\n"):  # another process writes it
                    return
                self._offset += len(text)
                self._line += 1
                records, wrong = read_line(text)
                if wrong:
                    self.damage[self._line] = wrong
                for record in [*map(_begin_study, self._lost.get(self._line, ())), *records]:
                    if record.begins:
                        self._studies.add(record.begins)
                    elif record.study is not None and record.study >= len(self._studies):  # Optuna passes over it
                        self.damage[self._line] = f"it belongs to study {record.study}, which has not begun"
                        continue
                    self._records += 1
                    if record.operation == _BEGINS_TRIAL:
                        self._trials.setdefault(record.study, []).append(self._line)
                    yield record.content

    def append_logs(self, logs: Sequence[object]) -> None:
        """Add records, on disk when this returns."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._lock.acquire(timeout=LOCK_SECONDS):
            mend_tail(self.path)
            with open(self.path, "ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())

    def leave_out(self, error: Exception) -> bool:
        """Note that Optuna refused the record that it read last; False where it refused that one before."""
        if self._records in self._refused:
            return False
        self._refused.add(self._records)
        self.damage[self._line] = f"{type(error).__name__}: {error}"
        for lines in self._trials.values():
            if lines[-1:] == [self._line]:
                lines.pop()
        return True

    def line_of(self, study: int, number: int) -> int:
        """The line that a trial of a study began with."""
        return self._trials[study][number]

    def tell(self) -> None:
        """Say which lines are left out, once."""
        kept = f"; the file stays as it is, and the other {self._records - len(self._refused):,} records count"
        tell_left_out(str(self.path), {f"line {line}": wrong for line, wrong in self.damage.items()}, kept)


def tell_left_out(shown: str, damage: Mapping[str, str], more: str = "") -> None:
    """Say which places of a journal are left out and why, those that this process hasn't spoken of; with ``more``."""
    new = {place: wrong for place, wrong in damage.items() if (shown, place) not in _told}
    if new:
        _told.update((shown, place) for place in new)
        rest = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        places, first = ", ".join(list(new)[:_SHOWN]) + rest, next(iter(new.values()))
        say(f"warning: {shown}: {places} {'is' if len(new) == 1 else 'are'} left out ({first}){more}")


def say(text: str) -> None:
    """A line on stderr."""
    print(presentable(text), file=sys.stderr, flush=True)


def read_line(text: bytes) -> tuple[list[Record], str]:
    """The records in a line, of which a sound file has one, and what is wrong with the line; empty: nothing."""
    try:
        return [_read_record(json.loads(text))], ""
    except (ValueError, RecursionError) as error:
        wrong = str(error) if text.strip() else "it is empty"
    return list(_records_inside(text)), wrong


def _read_record(content: object) -> Record:
    """Raises ValueError: it isn't a record, or would begin a study without saying which."""
    fields = convert(content, _Fields, "the record")
    begins = convert(content, _Study, "the record").study_name if fields.op_code == _BEGINS_STUDY else ""
    facts = tuple(fields.user_attrs) if isinstance(fields.user_attrs, dict) else ()
    study = fields.study_id if isinstance(fields.study_id, int) else None
    return Record(fields.op_code, study, facts, begins, content)


def _records_inside(text: bytes) -> Iterator[Record]:
    """Whole records between rubbish, as where a line break or the end of a line was lost."""
    at = text.find(_START)
    while at >= 0:
        plain = text[at:].decode(errors="surrogateescape")
        try:
            found, end = json.JSONDecoder().raw_decode(plain)
            length = len(plain[:end].encode())  # fails where its text isn't whole
            yield _read_record(found)
        except (ValueError, RecursionError):
            length = 1
        at = text.find(_START, at + length)


def _begin_study(name: str) -> Record:
    direction = StudyDirection.MINIMIZE if name == _OTHER_STUDIES["candidate"] else StudyDirection.MAXIMIZE
    content = {"op_code": _BEGINS_STUDY, "worker_id": "", "study_name": name, "directions": [int(direction)]}
    return _read_record(content)


def find_lost_studies(lines: Iterable[bytes]) -> dict[int, list[str]]:
    """Studies whose beginning a file has lost: before which line each began, at the latest, and its name.

    What later records hold tells what the study was of. None is found in a file of other studies than a journal's.
    """
    begun: list[tuple[int, str]] = []
    used: dict[int, tuple[int, str]] = {}  # by number of the study: first line that names it, and its name
    for line, text in enumerate(lines, 1):
        for record in read_line(text)[0]:
            if record.begins and all(record.begins != name for _, name in begun):
                begun.append((line, record.begins))
            elif record.study is not None and (name := _study_of(record)):
                used.setdefault(record.study, (line, name))
    known = {ACCURACY, f"{ACCURACY} test", *_OTHER_STUDIES.values()}
    if any(name not in known for _, name in begun):
        return {}
    lost: dict[int, list[str]] = {}
    for study in range(len(known)):
        next_line, next_name = begun[0] if begun else (0, "")
        later = {name for number, (_, name) in used.items() if number > study}
        line, name = used.get(study, (next_line, f"{ACCURACY} {study}" if next_name in later else next_name))
        if name == next_name:
            begun = begun[1:]
        else:
            lost.setdefault(min(line, next_line) if begun else line, []).append(name)
    return lost


def _study_of(record: Record) -> str:
    """The name of the study that a record belongs to, by what it holds; empty: it doesn't tell."""
    facts = record.facts if record.operation == _BEGINS_TRIAL else ()
    for fact, name in _OTHER_STUDIES.items():
        if fact in facts:
            return name
    if record.operation == _NOTES_OF_STUDY or "architecture" in facts:
        return f"{ACCURACY} test" if record.study else ACCURACY
    return ""


def mend_tail(path: Path) -> None:
    """End a file in a whole line: a last line without its end is completed where it is a whole record, and cut off
    where a crash or a full disk left half of one, which nobody has counted on. The caller holds the lock."""
    with open(path, "r+b") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        content = file.read()
        start = content.rfind(b"\n") + 1
        try:
            _read_record(json.loads(content[start:]))
        except (ValueError, RecursionError):
            file.truncate(start)
        else:
            file.write(b"\n")
