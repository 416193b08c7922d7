"""What the measurements of a run took, read from its journal without changing anything of it."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search_spaces.errors import UserError

from ..journal import SEARCH, TEST

Seconds = dict[str, dict[str, tuple[int, float]]]
"""By split, then by what asked for the measurements: how many there are, and their seconds."""


def seconds_of(journal: Path) -> Seconds:
    """What a journal file's measurements took.

    Raises:
        UserError: the file is damaged.
    """
    found: Seconds = {SEARCH: {}, TEST: {}}
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
        for split, name in ((SEARCH, "accuracy"), (TEST, f"accuracy {TEST}")):
            for trial in storage.get_all_trials(studies[name], deepcopy=False) if name in studies else []:
                if trial.state == TrialState.COMPLETE:
                    origin, spent = str(trial.user_attrs["origin"]), float(trial.user_attrs["seconds"])
                    count, seconds = found[split].get(origin, (0, 0.0))
                    found[split][origin] = (count + 1, seconds + spent)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{journal} is damaged: {error!r}") from None
    return found
