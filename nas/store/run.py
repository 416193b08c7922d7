"""The run directory: what lies where, which run is the last one, and who may work on it."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from search_spaces.errors import UserError
from search_spaces.schema import to_json

from .files import FORMAT, read_record, write_json
from .hints import hint
from .host import is_alive
from .records import RunRecord
from .spawned import refuse_while_importing

DEFAULT_ROOT = Path("runs")

# Data loading processes of a killed run hold its lock until they notice that it ended: torch looks every 5 s.
_ORPHANS_SECONDS = 20.0


@dataclass(frozen=True)
class _File:
    """A file of a run: as an attribute of a :class:`Run` its path."""

    name: str

    def __get__(self, run: Run, _: type[Run]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class Run:
    """Paths of one run: commands hand their results on as files here."""

    path: Path

    config = _File("run.json")
    """Resolved training configuration, data set facts and status."""
    checkpoint = _File("checkpoint.safetensors")
    """Training state of the last save."""
    previous = _File("checkpoint.previous.safetensors")
    """That of the save before."""
    good = _File("checkpoint.good.safetensors")
    """Training state to go back to where training collapses; gone when training ends."""
    metrics = _File("metrics.jsonl")
    """One JSON object per line, one line per log interval or evaluation."""
    supernet = _File("supernet.safetensors")
    """The trained weights."""
    adapted = _File("adapted.safetensors")
    """The whole network, adapted to the data before subnets were trained; there with strategy teacher-first."""
    teacher = _File("teacher.safetensors")
    """What a fixed teacher says of every training image; see :mod:`nas.training.teacher.answers`."""
    tuned = _File("tuned.json")
    """Candidates of its fronts that were fine-tuned together; see :mod:`nas.store.tuned`."""
    journal = _File("journal.log")
    """Optuna journal of all accuracies measured on this supernet."""

    sensitivity = _File("sensitivity.json")
    """What each smaller choice costs these weights, one gene at a time; see :mod:`nas.store.sensitivity`."""

    def search(self, target: str) -> Path:
        """Result of the last search for a target."""
        return self.path / f"search-{target}.json"

    def searches(self) -> dict[str, Path]:
        """Results of searches by target, without the plans that earlier versions of nas left beside them."""
        paths = sorted(p for p in self.path.glob("search-*.json") if not p.name.endswith(".plan.json"))
        return {path.stem.removeprefix("search-"): path for path in paths}

    def predictor(self, target: str) -> Path:
        """Accuracy predictor of the last search for a target; see ``predictors.accuracy.predictor``."""
        return self.path / f"predictor-{target}.safetensors"

    def finetune(self, name: str = "") -> Run:
        """Training of a candidate or a front, a run of its own; see :mod:`nas.workflows.finetune`. Without a name, what
        they share: the answers of their teacher."""
        return Run(self.path / "finetune" / name)

    def whole(self, resolution: int) -> Run:
        """Training of the adapted whole on smaller images, a run of its own; see :mod:`nas.workflows.whole`."""
        return Run(self.path / "whole" / f"{resolution}px")

    def export(self, name: str) -> Path:
        return self.path / "export" / name

    @property
    def exists(self) -> bool:
        return self.config.exists()

    @property
    def resume_hint(self) -> str:
        """The command that continues its training from its last checkpoint, or trains it again where it is trained."""
        return hint("train-supernet", config=self.config, out=self.path)

    @property
    def busy(self) -> bool:
        """Whether a command works on it now, as far as can be seen without waiting for its lock."""
        holders = [_pid(self.path / ".owner")]
        holders += [int(n) for p in self.path.glob(".worker.*.lock") if (n := p.name.split(".")[2]).isdecimal()]
        return any(holder is not None and is_alive(holder) for holder in holders)

    def read(self) -> RunRecord:
        """Content of ``run.json``. Raises UserError where it is missing or damaged."""
        if not self.exists:
            raise UserError(f"{self.path} is not a run directory (it has no run.json); start one: nas train-supernet")
        return read_record(self.config, RunRecord)

    def write(self, record: RunRecord) -> None:
        write_json(self.config, to_json(replace(record, format=FORMAT)))

    @contextmanager
    def locked(self, otherwise: str = "") -> Iterator[None]:
        """Hold the directory for this process alone; released by the system when the process dies. Raises UserError:
        another process holds it or works in it, with what the user may do ``otherwise``, instead of waiting; or this
        process only imports the script of another."""
        refuse_while_importing()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        owner = self.path / ".owner"
        self._acquire(lock, owner, otherwise)
        try:
            workers = self._workers()
            if workers:
                raise self._in_use(f" (process {workers[0]}, a search)", otherwise)
            owner.write_text(str(os.getpid()), encoding="utf-8")
            self._sweep()
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Hold the directory together with other workers of searches, which only add to it. Raises UserError: another
        process holds it alone, or this process only imports the script of another."""
        refuse_while_importing()
        self.path.mkdir(parents=True, exist_ok=True)
        gate, mine = FileLock(self.path / ".lock"), self.path / f".worker.{os.getpid()}.{uuid.uuid4().hex}.lock"
        worker = FileLock(mine)
        self._acquire(gate, self.path / ".owner")
        try:
            if not self._workers():
                self._sweep()
            worker.acquire()
        finally:
            gate.release()
        try:
            yield
        finally:
            worker.release()
            mine.unlink(missing_ok=True)

    def _workers(self) -> list[int]:
        """Processes that have joined. The caller must hold the lock, so that none joins meanwhile."""
        workers = []
        for path in self.path.glob(".worker.*.lock"):
            try:
                with FileLock(path).acquire(timeout=0):
                    pass
            except Timeout:
                workers.append(int(path.name.split(".")[2]))
            else:
                path.unlink(missing_ok=True)
        return workers

    def _sweep(self) -> None:
        """Remove the temporary files of processes that were killed while they wrote."""
        for left in self.path.rglob(".*.tmp"):
            left.unlink(missing_ok=True)

    def _acquire(self, lock: BaseFileLock, owner: Path, otherwise: str = "") -> None:
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return
        holder = _pid(owner)
        if holder is None or not is_alive(holder):  # a worker that joins, or children of a killed process
            with suppress(Timeout):
                lock.acquire(timeout=_ORPHANS_SECONDS)
                return
            holder = _pid(owner)
        raise self._in_use("" if holder is None else f" (process {holder})", otherwise)

    def _in_use(self, holder: str, otherwise: str) -> UserError:
        advice = f"wait for it, or {otherwise}" if otherwise else "wait for it"
        return UserError(f"{self.path} is in use by another nas process{holder}; {advice}")


def open_run(path: Path | None) -> Run:
    """The run of a directory; None: the run touched last. Raises UserError where there is none."""
    if path is None:
        return latest()
    run = Run(path)
    run.read()
    return run


def latest(root: Path = DEFAULT_ROOT) -> Run:
    """The run touched last. Raises UserError: there is none."""
    runs = sorted(root.glob("*/run.json"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise UserError(f"no run under {root}/; start one: nas train-supernet")
    return Run(runs[-1].parent)


def _pid(owner: Path) -> int | None:
    try:
        return int(owner.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_hash(path: Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
