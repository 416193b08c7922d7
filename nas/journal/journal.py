"""The journal: every accuracy measured on a supernet, in an Optuna study, by one worker or by many.

Accuracies belong to the supernet and not to a target, so every later search starts from all of them. One completed
trial is one measurement; its parameters are the active genes and the precision. Beside the study of the search split
lie one of the test split, one of the claims (who measures what at the moment) and one of the agreements (what a
search decided, so that its workers, here and elsewhere, walk the same path).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.candidates.candidate import OUTER, Candidate
from nas.store.records import CLASSIFICATION
from nas.tasks.task import Score, Task, get_task
from search_spaces.architecture import Architecture
from search_spaces.errors import UserError
from search_spaces.policy import PRECISIONS, parse_policy
from search_spaces.schema import Count
from search_spaces.space import SearchSpace

from .agreements import Agreements
from .claims import Claims, Timing
from .journal_file import ACCURACY
from .storage import PATIENCE_SECONDS, Storage

Measure = Callable[[Candidate], Score]
Tell = Callable[[Candidate, Score], None]

T = TypeVar("T")

SEARCH, TEST = "search", "test"

_WHOLE = ("fp32", "int8")

_ANY = random.SystemRandom()  # workers, even forked ones, must not draw alike
_SHORTEST_WAIT = 0.02
_LONGEST_WAIT = 2.0


@dataclass(frozen=True)
class Begun:
    """What the workers of a search agree on when it begins: how many measurements all of them know. The settings are
    not read."""

    prior: Count
    settings: Any = None


class Journal:
    """Measurements of one supernet, kept in a storage as they come.

    Args:
        where: journal file, or URL of a database.
        weights: hash of the supernet's weights.
        name: of the studies; in a database, which may hold many supernets, see :func:`study_name`.
        patience: seconds to wait for a storage that is down.

    Raises:
        UserError: the study belongs to another space or other weights.
    """

    def __init__(
        self, where: Path | str, space: SearchSpace, weights: str, name: str = ACCURACY,
        patience: float = PATIENCE_SECONDS, timing: Timing | None = None, task: str = CLASSIFICATION,
    ) -> None:  # fmt: skip
        self.space, self.name = space, name
        self._storage = Storage(where, patience)
        self._weights, self._timing, self._task = weights, timing, get_task(task)
        self._splits: dict[str, _Split] = {}
        self._pace = 1.0
        self.refresh()

    def _own(self, name: str, weights: str) -> int:
        """Id of the study of that name, which belongs to this supernet; a new one is marked as such."""
        study = self._storage.study(name)
        noted = self._storage.attributes(study)
        here = {"space": self.space.name, "weights": weights}
        there = here | {name: value for name, value in noted.items() if name in here}
        if there != here:
            raise UserError(
                f"study '{name}' in {self._storage.shown} holds accuracies of other weights "
                f"({', '.join(there.values())}), not of this supernet ({self.space.name}, {weights}); "
                "move it away to search anew"
            )
        if not noted and self._storage.trials(study):
            raise UserError(f"study '{name}' in {self._storage.shown} was not written by nas; give another `storage`")
        for fact in here.keys() - noted.keys():  # both at first, one after a crash between the two
            self._storage.note(study, fact, here[fact])
        return study

    def __len__(self) -> int:
        return len(self._split(SEARCH).scores)

    def get(self, candidate: Candidate) -> Score | None:
        """The measurement of a candidate on the search split, if one was there when the storage was last read."""
        return self._split(SEARCH).scores.get(candidate)

    def items(self) -> list[tuple[Candidate, Score]]:
        """All measurements on the search split in the order they were made, which is the same for all workers."""
        return list(self._split(SEARCH).scores.items())

    def refresh(self) -> None:
        """Read what other workers have measured meanwhile."""
        self._split(SEARCH).refresh()

    def recall(self, candidate: Candidate, measure: Measure, origin: str, split: str = SEARCH) -> Score:
        """The measurement of a candidate; made and recorded where there is none yet."""
        return self.measure_all([candidate], measure, origin, split=split)[0]

    def measure_all(
        self, candidates: Sequence[Candidate], measure: Measure, origin: str, spare: Sequence[Candidate] = (),
        split: str = SEARCH, tell: Tell | None = None,
    ) -> list[Score]:  # fmt: skip
        """The measurements of candidates; those that nobody has made are made together with all other workers.

        Returns when every one is there, whoever made it. None is made twice: a worker claims a candidate before
        measuring it. Where the rest is being measured by others, this worker makes itself useful with ``spare``
        candidates, or waits.

        Args:
            candidates: in the order they are to be measured in.
            origin: which search asked for it.
            spare: candidates whose measurements will be wanted later.
            split: where they are measured, :data:`SEARCH` or :data:`TEST`.
            tell: called once for each of ``candidates`` as soon as its measurement is there.
        """
        records, claims = self._split(split), self._claims
        untold = list(dict.fromkeys(candidates))
        wait = _SHORTEST_WAIT
        while True:
            records.refresh()
            if tell is not None:
                for candidate in untold:
                    if candidate in records.scores:
                        tell(candidate, records.scores[candidate])
            untold = [c for c in untold if c not in records.scores]
            if not untold:
                return [records.scores[c] for c in candidates]
            taken = claims.live()
            free = [c for c in untold if _key(c, split) not in taken]
            if not free:
                free = [c for c in spare if c not in records.scores and _key(c, split) not in taken]
            if not free:
                time.sleep(wait)
                wait = min(1.5 * wait, max(self._pace / 10, _SHORTEST_WAIT), _LONGEST_WAIT)
                continue
            # Workers that all began with the first would all but one be turned away.
            chosen = _ANY.choice(free) if taken else free[0]
            if self._measure(chosen, measure, origin, split):
                wait = _SHORTEST_WAIT

    def _measure(self, candidate: Candidate, measure: Measure, origin: str, split: str) -> bool:
        """Measure one candidate, unless another worker does or did; whether this one measured it."""
        with self._claims.on(_key(candidate, split)) as ours:
            if not ours:
                return False
            records = self._split(split)
            records.refresh()  # a claim that ended before ours began left a record
            if candidate in records.scores:
                return False
            began = time.monotonic()
            score = measure(candidate)
            self._pace = time.monotonic() - began
            self.add(candidate, score, self._pace, origin, split)
        return True

    def add(
        self, candidate: Candidate, accuracy: Score, seconds: float, origin: str, split: str = SEARCH
    ) -> None:  # fmt: skip
        """Record a measurement, unless there is one; in the storage when this returns."""
        records = self._split(split)
        records.refresh()
        if candidate in records.scores:
            return
        choices: dict[str, Sequence[Any]] = {gene.name: gene.choices for gene in self.space.genes}
        params: dict[str, Any] = dict(candidate.architecture.genes)
        if candidate.precision in _WHOLE:  # the one parameter that journals without mixed policies have
            params["precision"], choices["precision"] = candidate.precision, _WHOLE
        else:
            policy = candidate.policy
            params |= {f"{stage}.precision": name for stage, name in ((OUTER, policy.outer), *policy.stages)}
        distributions = {name: CategoricalDistribution(choices.get(name, PRECISIONS)) for name in params}
        facts = {
            "architecture": candidate.architecture.to_json(), "precision": candidate.precision, **accuracy.record(),
            "seconds": round(seconds, 3), "origin": origin,
        }  # fmt: skip
        trial = optuna.trial.create_trial(
            params=params, distributions=distributions, value=accuracy.value, user_attrs=facts
        )
        self._storage.create(records.study, trial)
        records.refresh()

    def seconds(self, candidates: Sequence[Candidate], split: str = SEARCH) -> float:
        """Seconds that the measurements of candidates took; candidates without one count as 0."""
        made = self._split(split).made
        return sum(made[c][0] for c in candidates if c in made)

    def learn(self, other: Journal) -> None:
        """Add the measurements of another journal of this supernet that this one lacks."""
        for split in (SEARCH, TEST):
            records, theirs = self._split(split), other._split(split)
            records.refresh()
            theirs.refresh()
            for candidate, accuracy in theirs.scores.items():
                if candidate not in records.scores:
                    self.add(candidate, accuracy, *theirs.made[candidate], split)

    def begin(self, settings: str) -> int:
        """How many measurements there were when a search first began, here or elsewhere, whose settings are this JSON
        table of all that tells it from others."""
        self.refresh()
        begun = self.agree(settings, "begin", Begun(len(self), json.loads(settings)), Begun)
        self.refresh()  # the first worker may have known more than this one
        return begun.prior

    def agree(
        self, settings: str, step: str, proposal: T, kind: type[T], check: Callable[[T], str] = lambda agreed: ""
    ) -> T:
        """What the workers of a search of these settings (see :meth:`begin`) do at a step, unique within it: as whoever
        came first proposed, see :meth:`nas.journal.agreements.Agreements.on`."""
        search = hashlib.sha256(json.dumps(json.loads(settings), sort_keys=True).encode()).hexdigest()[:16]
        return self._agreements.on(f"{search} {step}", proposal, kind, check)

    @cached_property
    def _claims(self) -> Claims:
        study = self._storage.study(f"{self.name} claims", StudyDirection.MINIMIZE)
        return Claims(self._storage, study, self._timing)

    @cached_property
    def _agreements(self) -> Agreements:
        return Agreements(self._storage, self._storage.study(f"{self.name} agreements"))

    def _split(self, split: str) -> _Split:
        if split not in self._splits:
            self._splits[split] = _Split(self._storage, self._own(_study(self.name, split), self._weights), self._task)
        return self._splits[split]


class _Split:
    """Measurements on one split of the data, each trial read once."""

    def __init__(self, storage: Storage, study: int, task: Task) -> None:
        self.study = study
        self._task = task
        self.scores: dict[Candidate, Score] = {}
        self.made: dict[Candidate, tuple[float, str]] = {}
        self._storage = storage
        self._read = 0

    def refresh(self) -> None:
        trials = self._storage.trials(self.study)
        wrong = {}
        for trial in trials[self._read :]:
            if trial.state != TrialState.COMPLETE:
                continue
            facts = trial.user_attrs
            try:
                precision = facts.get("precision", trial.params.get("precision"))  # a fact since there are policies
                candidate = Candidate(Architecture.from_json(facts["architecture"]), str(precision))
                parse_policy(candidate.precision)  # refuses an unknown one
                score = self._task.score_of(facts)
                made = float(facts["seconds"]), str(facts["origin"])
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
                wrong[trial.number] = f"it isn't a measurement: {type(error).__name__}: {error}"
                continue
            # Two records are possible where a worker that was given up came back: the first one counts.
            if candidate not in self.scores:
                self.scores[candidate], self.made[candidate] = score, made
        self._read = len(trials)
        self._storage.leave_out(self.study, wrong)


def seconds_spent(file: Path, split: str) -> list[tuple[str, float]]:
    """The origin of each measurement in a journal file, and its seconds; the file is not changed."""
    storage = Storage(file, patience=0, change=False)
    study = storage.find(_study(ACCURACY, split))
    if study is None:
        return []
    records = _Split(storage, study, get_task())
    records.refresh()
    return [(origin, seconds) for seconds, origin in records.made.values()]


def _study(name: str, split: str) -> str:
    """Name of the study of a split."""
    return name if split == SEARCH else f"{name} {split}"


def study_name(space: SearchSpace, weights: str) -> str:
    """Name of a supernet's study in a database."""
    return f"{space.name}-{weights}"


def _key(candidate: Candidate, split: str) -> str:
    """The name of a candidate in a claim. If two ever shared one, the second would be measured after the first."""
    return f"{candidate.id} {split}"
