"""Agreements: what several workers must decide in the same way, decided by the first of them.

Two machines can compute slightly different numbers from the same measurements. Where that could lead their searches
apart, each proposes its own, and all take the proposal that the storage numbered first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import optuna

from search_spaces.schema import Check, SchemaError, convert, problem, shown, to_json

from .storage import Storage

T = TypeVar("T")


@dataclass(frozen=True)
class Agreement:
    """What a journal says of an agreement; what was agreed has a schema of its own."""

    topic: str
    agreed: Annotated[list[Any], Check(lambda v: "" if len(v) == 1 else f"{shown(v)} is not a list of one")]


class Agreements:
    """What was agreed, by topic, in a study that holds nothing else."""

    def __init__(self, storage: Storage, study: int) -> None:
        self._storage, self._study = storage, study
        self._proposed: dict[str, list[tuple[int, object]]] = {}
        self._read = 0

    def on(self, topic: str, proposal: T, kind: type[T], check: Callable[[T], str] = lambda agreed: "") -> T:
        """The first proposal on a topic, of this worker or another, that can be used.

        All are of a ``kind`` of :mod:`search_spaces.schema`; ``check`` says what is wrong with one; empty: nothing.
        Raises UserError where the proposal itself cannot be used.
        """
        place, wrong = "what workers agree on", {}
        for last in (False, True):
            self._look()
            for number, proposed in self._proposed.get(topic, ()):
                wrong[number] = problem(proposed, kind, place) or check(convert(proposed, kind))
                if not wrong[number]:
                    del wrong[number]
                    self._storage.leave_out(self._study, wrong)
                    return convert(proposed, kind)
            if not last:
                facts = {"topic": topic, "agreed": [to_json(proposal)]}
                self._storage.create(self._study, optuna.trial.create_trial(value=0.0, user_attrs=facts))
        raise self._storage.damaged("; ".join(wrong.values()))

    def _look(self) -> None:
        """Read what is new."""
        trials = self._storage.trials(self._study)
        wrong = {}
        for trial in trials[self._read :]:
            try:
                agreement = convert(trial.user_attrs, Agreement, f"agreement {trial.number}")
            except SchemaError as error:
                wrong[trial.number] = str(error)
            else:
                self._proposed.setdefault(agreement.topic, []).append((trial.number, agreement.agreed[0]))
        self._read = len(trials)
        self._storage.leave_out(self._study, wrong)
