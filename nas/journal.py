"""The journal: every accuracy measured on a supernet, in an Optuna study in the run directory.

Accuracies belong to the supernet and not to a target, so every later search starts from all of them. One completed
trial is one measurement; its parameters are the active genes and the precision.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from search_spaces.architecture import Architecture
from search_spaces.errors import UserError
from search_spaces.space import SearchSpace

from .evaluate import Accuracy
from .measure import Candidate

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _Lock(BaseJournalFileLock):
    """Optuna's own lock files outlive a killed process; the system releases this one."""

    def __init__(self, path: str) -> None:
        self._lock = FileLock(path + ".lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class Journal:
    """Measurements of one supernet, kept on disk as they come.

    Args:
        path: journal file.
        space: of the supernet.
        weights: hash of the supernet's weights.

    Raises:
        UserError: the journal belongs to other weights, or cannot be read.
    """

    def __init__(self, path: Path, space: SearchSpace, weights: str) -> None:
        self.space = space
        _drop_torn_tail(path)
        with _readable(path):
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(str(path))))
            self.study = optuna.create_study(
                storage=storage, study_name="accuracy", direction="maximize", load_if_exists=True
            )
            known = self.study.user_attrs
        here = {"space": space.name, "weights": weights}
        there = here | {name: known[name] for name in here if name in known}
        if there != here:
            raise UserError(
                f"{path} holds accuracies of other weights ({there['space']}, {there['weights']}), "
                f"not of this supernet ({space.name}, {weights}); move it away to search anew"
            )
        for name in here.keys() - known.keys():  # both at first, one after a crash between the two
            self.study.set_user_attr(name, here[name])
        self._found = dict(self._read())

    def __len__(self) -> int:
        return len(self._found)

    def get(self, candidate: Candidate) -> Accuracy | None:
        """The measurement of a candidate, if there is one."""
        return self._found.get(candidate)

    def items(self) -> list[tuple[Candidate, Accuracy]]:
        """All measurements in the order they were made."""
        return list(self._found.items())

    def recall(self, candidate: Candidate, measure: Callable[[Candidate], Accuracy], origin: str) -> Accuracy:
        """The measurement of a candidate; made and recorded where there is none yet."""
        found = self.get(candidate)
        if found is None:
            began = time.monotonic()
            found = measure(candidate)
            self.add(candidate, found, time.monotonic() - began, origin)
        return found

    def add(self, candidate: Candidate, accuracy: Accuracy, seconds: float, origin: str) -> None:
        """Record a measurement; on disk when this returns. ``origin`` says which search asked for it."""
        genes = {gene.name: gene for gene in self.space.genes}
        params: dict[str, Any] = {**dict(candidate.architecture.genes), "precision": candidate.precision}
        distributions = {
            name: CategoricalDistribution(genes[name].choices if name in genes else ("fp32", "int8")) for name in params
        }
        trial = optuna.trial.create_trial(
            params=params,
            distributions=distributions,
            value=accuracy.value,
            user_attrs={
                "architecture": candidate.architecture.to_json(),
                "correct": accuracy.correct,
                "images": accuracy.images,
                "seconds": round(seconds, 3),
                "origin": origin,
            },
        )
        self.study.add_trial(trial)
        self._found[candidate] = accuracy

    def _read(self) -> Iterator[tuple[Candidate, Accuracy]]:
        for trial in self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
            attrs = trial.user_attrs
            architecture = Architecture.from_json(attrs["architecture"])
            yield Candidate(architecture, trial.params["precision"]), Accuracy(attrs["correct"], attrs["images"])


def _drop_torn_tail(path: Path) -> None:
    """Cut off a last line that a crash or a full disk left unfinished, so that appending goes on cleanly.

    A power cut can also leave a last line of zeros or of rubbish: whatever is no JSON is cut too.
    """
    if not path.exists():
        return
    with open(path, "r+b") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        last = content.rfind(b"\n", 0, max(0, end - 1)) + 1
        if end and not _is_json(content[last:end]):
            end = last
        if end != len(content):
            file.truncate(end)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}; move it away to measure anew") from None
