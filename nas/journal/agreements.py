"""Agreements: what several workers must decide in the same way, decided by the first of them.

Two machines can compute slightly different numbers from the same measurements. Where that could lead their searches
apart, each proposes its own, and all take the proposal that the storage numbered first.
"""

from __future__ import annotations

from typing import Any

import optuna

from nas.store.records import AGREEMENT
from nas.store.schema import problem

from .storage import Storage


class Agreements:
    """What was agreed in a study, by topic.

    Args:
        storage, study: where they lie; the study holds nothing else.
    """

    def __init__(self, storage: Storage, study: int) -> None:
        self._storage, self._study = storage, study
        self._known: dict[str, Any] = {}
        self._read = 0

    def on(self, topic: str, proposal: Any, form: Any) -> Any:
        """The first proposal on a topic, of this worker or another: JSON-able data.

        Args:
            form: of all proposals on it, see ``nas.store.schema``.

        Raises:
            UserError: what lies in the storage is damaged.
        """
        if self._look(topic) is None:
            facts = {"topic": topic, "agreed": [proposal]}
            self._storage.create(self._study, optuna.trial.create_trial(value=0.0, user_attrs=facts))
        agreed = self._look(topic)
        assert agreed is not None
        if found := problem(agreed, [form], "what workers agreed on"):
            raise self._storage.damaged(found)
        return agreed[0]

    def _look(self, topic: str) -> Any:
        if topic not in self._known:
            trials = self._storage.trials(self._study)
            for trial in trials[self._read :]:
                if found := problem(trial.user_attrs, AGREEMENT, f"agreement {trial.number}"):
                    raise self._storage.damaged(found)
                self._known.setdefault(trial.user_attrs["topic"], trial.user_attrs["agreed"])
            self._read = len(trials)
        return self._known.get(topic)
