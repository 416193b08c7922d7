"""Where a journal lies: Optuna's journal file in the run directory, or a database that many machines reach.

A storage that does not answer is asked again, with a line on stderr, until the patience is over. Passwords in URLs are
never shown. What is damaged is left out, with a line on stderr that names it; all else counts.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.errors import UsageError, UserError, install_hint

from .journal_file import LOCK_SECONDS, JournalFile, say, tell_left_out

optuna.logging.set_verbosity(optuna.logging.ERROR)

T = TypeVar("T")

PATIENCE_SECONDS = 300.0

_DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "mysql": "pymysql", "sqlite": ""}
_LONGEST_PAUSE = 5.0
_SAY_AGAIN_SECONDS = 30.0

CONNECT = {
    "postgresql": {
        "connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 10, "keepalives_interval": 5,
        "keepalives_count": 3, "options": "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s",
    },
    "mysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
    "sqlite": {"timeout": LOCK_SECONDS},
}  # fmt: skip
"""Arguments of a connection: they detect servers that disappear, and servers whose lock a suspended worker holds."""

_GONE_FOR_A_WHILE = (
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EBUSY, errno.EAGAIN, errno.ENOENT,
)  # fmt: skip

# Errors that retrying cannot fix, in the words of PostgreSQL, MySQL and SQLite.
_HOPELESS = (
    "authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry", "permission denied",
    "access denied", "unknown database", "unable to open database file", "readonly database", "not a database",
    "too long",
)  # fmt: skip


# Errors from reading a journal that is damaged or was written by another program.
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, RecursionError, OverflowError)


class Storage:
    """The few operations of an Optuna storage that a journal needs; each waits for a storage that is down.

    Args:
        where: journal file, or URL of a database.
        patience: seconds that an operation is tried again for.
        change: whether the file may be changed; otherwise studies are only looked for.

    Raises:
        UsageError: no URL of a database that is known, or its driver is missing.
        UserError: from this and every method: the storage did not answer for so long, refuses us, or is damaged.
    """

    def __init__(self, where: Path | str, patience: float = PATIENCE_SECONDS, change: bool = True) -> None:
        self.shown = shown(where)
        self.patience = patience
        self._password = "" if isinstance(where, Path) else _parse(where).password or ""
        self._file: JournalFile | None = None
        self._backend: BaseStorage = self._patiently(lambda: self._open(where, change))

    def damaged(self, what: str) -> UserError:
        """The error to raise where the content of the storage cannot be read."""
        return UserError(f"{self.shown} is damaged: {what}; move it away to measure anew")

    def leave_out(self, study: int, wrong: Mapping[int, str]) -> None:
        """Say which trials of a study cannot be read, and so don't count; ``wrong``: why, by their number."""
        file = self._file
        places = {f"record {n}" if file is None else f"line {file.line_of(study, n)}": w for n, w in wrong.items()}
        tell_left_out(self.shown, places)

    def study(self, name: str, direction: StudyDirection = StudyDirection.MAXIMIZE) -> int:
        """Id of a study, which is created where there is none."""

        def begin() -> int:
            study = self.find(name)
            if study is not None:
                return study
            try:
                return int(self._backend.create_new_study([direction], name))
            except optuna.exceptions.DuplicatedStudyError:  # begun by somebody else at this moment
                return int(self._backend.get_study_id_from_name(name))

        return self._patiently(begin)

    def find(self, name: str) -> int | None:
        """Id of a study; None where there is none."""
        studies = self._patiently(self._backend.get_all_studies)
        if all(study.study_name != name for study in studies):
            return None
        return self._patiently(lambda: int(self._backend.get_study_id_from_name(name)))

    def trial_id(self, study: int, number: int) -> int:
        """Id of a trial by its number in its study."""
        return self._patiently(lambda: int(self._backend.get_trial_id_from_study_id_trial_number(study, number)))

    def attributes(self, study: int) -> dict[str, str]:
        """User attributes of a study, as texts."""
        return self._patiently(lambda: {k: str(v) for k, v in self._backend.get_study_user_attrs(study).items()})

    def note(self, study: int, name: str, value: str) -> None:
        """Set a user attribute of a study."""
        self._patiently(lambda: self._backend.set_study_user_attr(study, name, value))

    def create(self, study: int, trial: FrozenTrial) -> int:
        """Add a trial, which gets the next number of its study in one step; returns its id."""
        return self._patiently(lambda: int(self._backend.create_new_trial(study, trial)))

    def trials(self, study: int, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Trials by number, as the storage has them now; they are shared, not to be changed."""
        return self._patiently(lambda: self._backend.get_all_trials(study, deepcopy=False, states=states))

    def attribute(self, trial: int, name: str, value: Any) -> None:
        """Set a user attribute of a running trial, in one attempt. Nothing happens where it ended or none answers."""
        self._once(lambda: self._backend.set_trial_user_attr(trial, name, value))

    def finish(self, trial: int, state: TrialState, value: float | None = None, wait: bool = True) -> None:
        """End a running trial. Nothing happens where somebody else has ended it."""

        def end() -> None:
            try:
                self._backend.set_trial_state_values(trial, state, None if value is None else [value])
            except optuna.exceptions.UpdateFinishedTrialError:
                return

        (self._patiently if wait else self._once)(end)

    def _open(self, where: Path | str, change: bool) -> BaseStorage:
        if isinstance(where, str):
            return _open_database(where)
        if change:
            where.parent.resolve(strict=True)
        self._file = JournalFile(where, change)
        return JournalStorage(self._file)

    def _read_file(self) -> None:
        """Let Optuna read what is new in a file, without the records that it refuses."""
        while self._file is not None:
            try:
                self._backend.get_all_studies()
            except _DAMAGE as error:
                if not self._file.leave_out(error):
                    raise
            else:
                return self._file.tell()
        return None

    def _once(self, operation: Callable[[], Any]) -> None:
        try:
            self._read_file()
            operation()
        except optuna.exceptions.UpdateFinishedTrialError:
            return
        except Exception as error:
            if _outage(error) is None:
                raise

    def _patiently(self, operation: Callable[[], T]) -> T:
        """The result of an operation, tried again while the storage is down."""
        pause, began, said = 0.2, time.monotonic(), -_SAY_AGAIN_SECONDS
        while True:
            try:
                self._read_file()
                result = operation()
            except _DAMAGE as error:
                raise self.damaged(str(error)) from None
            except Exception as error:
                reason = _outage(error)
                if reason is None:
                    raise
                if self._password:
                    reason = reason.replace(self._password, "***")
                if any(words in reason.lower() for words in _HOPELESS):
                    raise UserError(f"storage {self.shown} cannot be used: {reason}") from None
                waited = time.monotonic() - began
                if waited + pause > self.patience:
                    raise UserError(
                        f"storage {self.shown} did not answer for {waited:.0f} s ({reason}). "
                        "What it holds is not lost: when it is up, run the same command again"
                    ) from None
                if waited - said >= _SAY_AGAIN_SECONDS:
                    left = self.patience - waited
                    say(f"storage {self.shown} does not answer ({reason}); trying for {left:.0f} s more")
                    said = waited
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if said >= 0:
                    say(f"storage {self.shown} answers again, after {time.monotonic() - began:.0f} s")
                return result


def check_url(url: str) -> None:
    """Refuse what isn't the URL of a database that workers can share. Raises UsageError."""
    _parse(url)


def shown(where: Path | str) -> str:
    """Name of a storage for people: without password."""
    if isinstance(where, Path):
        return str(where)
    url = _parse(where)
    secret = [name for name in url.query if "pass" in name.lower()]
    return str(url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True))


def without_password(word: str) -> str:
    """A word of a command line as it may be printed."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    try:
        return flag + equals + (shown(value) if "://" in value else value)
    except UsageError:
        return word


def _parse(text: str) -> Any:
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in _DRIVERS:
        kind = "" if url is None else f" '{url.get_backend_name()}'"
        raise UsageError(
            f"`storage`{kind}: not the URL of a database; give postgresql://user@host/name, mysql://user@host/name "
            "or sqlite:///file, or leave it out for the journal in the run directory"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise UsageError(
            "`storage` sqlite:// names no file, and no other worker can reach what is in memory; give sqlite:///FILE"
        )
    return url


def _open_database(where: str) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage

    url = _parse(where)
    name = url.get_backend_name()
    driver = _DRIVERS[name]
    if driver and "+" not in url.drivername:
        url = url.set(drivername=f"{'postgresql' if name == 'postgres' else name}+{driver}")
    kind = "postgresql" if name == "postgres" else name
    options = {"pool_pre_ping": True, "connect_args": CONNECT[kind]}
    try:
        return get_storage(RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options))
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or driver
        raise UsageError(
            f"`storage` {shown(where)} needs the package {missing}; {install_hint('.[storage]')}"
        ) from None
    except RuntimeError as error:  # tables of an Optuna that is too old or too new
        raise UserError(f"storage {shown(where)} cannot be used: {str(error).partition('. ')[0]}") from None


def _outage(error: Exception) -> str | None:
    """Why a storage does not answer, in one line; None: the error has another cause."""
    if isinstance(error, Timeout):
        return "locked by another process"
    if isinstance(error, OSError):
        return error.strerror if error.errno in _GONE_FOR_A_WHILE else None
    import sqlalchemy

    root = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if not isinstance(root, sqlalchemy.exc.SQLAlchemyError):
        return None
    text = str(getattr(root, "orig", None) or root).strip().partition("\n")[0]
    # Workers that prepare a new database at the same time stumble over each other's tables.
    return text or type(root).__name__
