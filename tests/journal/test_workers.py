"""Many workers on one journal: the same walk, nothing measured twice, nothing lost with a worker or a storage."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import nas.journal.journal_file
import nas.journal.storage
from nas.candidates.candidate import Candidate
from nas.journal.claims import Claims, Timing
from nas.journal.journal import SEARCH, TEST, Journal, study_name
from nas.journal.storage import Storage, check_url, shown, without_password
from nas.search.config import SearchConfig
from nas.search.costs import CandidateCosts
from nas.search.search import search
from nas.store.run import Run
from nas.tasks.classification import Accuracy
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError, UserError
from search_spaces.schema import to_json
from tests.support.cli_runs import SEARCH as WORDS
from tests.support.cli_runs import invoke
from tests.support.long_forms import long_form

SPACE = get_space("mbv3-tiny")
VECTORS = np.unique(SPACE.sample(np.random.default_rng(0), 400), axis=0)
POOL = list(dict.fromkeys(Candidate(SPACE.decode(v), "int8") for v in VECTORS))
SETTINGS = SearchConfig("cortex-a72", "int8", 18, seed=1)
FORK = multiprocessing.get_context("fork")


def accuracy_of(candidate: Candidate) -> Accuracy:
    """Of a made-up supernet."""
    return Accuracy(int(SPACE.encode(candidate.architecture) @ np.arange(len(SPACE.genes))) + 100, 5000)


class Slow:
    """Measures, writes a line of each measurement begun, and takes its time."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, candidate: Candidate) -> Accuracy:
        with open(self.log, "a") as file:
            file.write(f"{candidate.id} {os.getpid()}\n")
        time.sleep(self.seconds)
        return accuracy_of(candidate)

    def begun(self) -> list[str]:
        return [line.split()[0] for line in self.log.read_text().splitlines()] if self.log.exists() else []


def walk(journal: Journal, measure: Slow, batches: int, settings: dict[str, Any]) -> list[tuple[str, int]]:
    """A search in small: what a batch holds depends on all that was measured before it."""
    prior = journal.begin(json.dumps(settings))
    path = [(c.id, a.correct) for c, a in journal.items()[:prior]]
    for _ in range(batches):
        rng = np.random.default_rng([correct for _, correct in path] or 0)
        batch = [POOL[i] for i in rng.choice(len(POOL), 6, replace=False)]
        found = journal.measure_all(batch, measure, "walk", spare=POOL[:20])
        path += [(c.id, a.correct) for c, a in zip(batch, found, strict=True)]
    return path


def _work(where: Path | str, log: Path, out: Path, batches: int, seconds: float) -> None:
    path = walk(Journal(where, SPACE, "weights"), Slow(log, seconds), batches, {"seed": 0})
    out.write_text(repr(path))


def _start(work: Callable[..., None], *arguments: Any) -> Any:
    process = FORK.Process(target=work, args=arguments)
    process.start()
    return process


def _ended(processes: Sequence[Any]) -> None:
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def check_workers(where: Path | str, tmp_path: Path, workers: int, batches: int = 5) -> None:
    """Several workers on one storage end as one worker does that is alone on another."""
    alone = Slow(tmp_path / "alone.txt")
    expected = walk(Journal(tmp_path / "alone.log", SPACE, "weights"), alone, batches, {"seed": 0})
    log, outs = tmp_path / "log.txt", [tmp_path / f"out{i}" for i in range(workers)]
    _ended([_start(_work, where, log, out, batches, 0.02) for out in outs])
    for out in outs:
        assert out.read_text() == repr(expected)
    begun = Slow(log).begun()
    assert len(begun) == len(set(begun))
    assert set(alone.begun()) <= set(begun)  # and spare ones, where others were waited for


@pytest.mark.parametrize("workers", long_form([2], [1, 4]))
def test_any_number_of_workers_walks_the_same_path(tmp_path: Path, workers: int) -> None:
    check_workers(tmp_path / "journal.log", tmp_path, workers)


def test_workers_on_a_database_walk_the_same_path(tmp_path: Path) -> None:
    check_workers(f"sqlite:///{tmp_path}/shared.db", tmp_path, 2, batches=2)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real server."""
    from benchmarks.support import postgres

    if reason := postgres.missing():
        pytest.skip(reason)
    server = postgres.Server()
    try:
        yield server
    finally:
        server.remove()


@pytest.mark.long
def test_workers_on_postgresql_walk_the_same_path(postgres: Any, tmp_path: Path) -> None:
    check_workers(postgres.url, tmp_path, 4, batches=3)


def test_postgresql_down_and_up_again(postgres: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Switched off in the middle of a search, it is waited for, and has kept what it was given."""
    measured = []

    def measure(candidate: Candidate) -> Accuracy:
        measured.append(candidate)
        if len(measured) == 3:
            postgres.stop()
            threading.Timer(2.0, postgres.start).start()
        return accuracy_of(candidate)

    journal = Journal(postgres.url, SPACE, "weights", patience=60)
    assert journal.measure_all(POOL[:6], measure, "walk") == [accuracy_of(c) for c in POOL[:6]]
    assert measured == POOL[:6]
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "answers again, after" in said
    assert "secret" not in said
    assert [c for c, _ in Journal(postgres.url, SPACE, "weights").items()] == POOL[:6]
    with pytest.raises(UserError, match=r"cannot be used: .*password authentication failed") as caught:
        Journal(postgres.url.replace("secret", "wrong"), SPACE, "weights")
    assert "wrong" not in str(caught.value)


# Whole searches


def _search(where: Path, log: Path, out: Path, seconds: float) -> None:
    costs = CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")
    slow = Slow(log, seconds)

    def measure(candidate: Candidate, split: str) -> Accuracy:
        return slow(candidate) if split == SEARCH else accuracy_of(candidate)

    result = to_json(search(costs, SETTINGS, Journal(where, SPACE, "weights"), measure, lambda entry: None))
    del result["seconds"]  # of this process
    out.write_text(json.dumps(result))


def test_workers_share_a_search(tmp_path: Path) -> None:
    """Front, baseline and fidelity are those of one worker alone; there are three, one of them killed on the way."""
    _search(tmp_path / "alone.log", tmp_path / "alone.txt", tmp_path / "alone", 0.0)
    log, outs = tmp_path / "log.txt", [tmp_path / f"out{i}" for i in range(3)]
    processes = [_start(_search, tmp_path / "journal.log", log, out, 0.05) for out in outs]
    while len(Slow(log).begun()) < 12:
        time.sleep(0.01)
    os.kill(processes[0].pid, signal.SIGKILL)
    _ended(processes[1:])
    processes[0].join()
    for out in outs[1:]:
        assert out.read_text() == (tmp_path / "alone").read_text()
    begun, recorded = Slow(log).begun(), [t.user_attrs for t in _trials(tmp_path / "journal.log", "accuracy")]
    assert len({facts["architecture"] for facts in recorded}) == len(recorded)
    assert len(begun) <= len(set(begun)) + 1  # but for what was in progress when the worker was killed
    assert set(begun) == set(Slow(tmp_path / "alone.txt").begun())


def _command(words: Sequence[str]) -> None:
    result = invoke(*words)
    assert result.code == 0, result.err


@pytest.mark.long
def test_two_commands_share_a_search(here: Path) -> None:
    """Started at once on one run; they end alike, with what one command found, and measure nothing twice."""
    out = here / "run" / "search-cortex-a72.json"
    alone = out.read_bytes()
    for path in (out, here / "run" / "journal.log"):
        path.unlink()
    both = [_start(_command, (*WORDS, "--run", "run", "--quiet")) for _ in range(2)]
    _ended(both)
    assert out.read_bytes() == alone
    recorded = [t.user_attrs["architecture"] for t in _trials(here / "run" / "journal.log", "accuracy")]
    assert len(set(recorded)) == len(recorded)
    claimants = {t.user_attrs["process"] for t in _trials(here / "run" / "journal.log", "accuracy claims")}
    assert {process.pid for process in both} <= claimants
    assert not list((here / "run").glob(".worker.*"))


def test_a_search_through_a_database_knows_the_run_and_is_kept_in_it(here: Path) -> None:
    words = ("search", "--run", "run", "--measurements", "5", "--compare", "none", "--json")
    url = f"sqlite:///{here}/shared.db"
    before = len(_trials(here / "run" / "journal.log", "accuracy"))
    result = invoke(*words, "--storage", url)
    assert result.code == 0, result.err
    assert result.json["config"]["prior"] == before
    after = len(_trials(here / "run" / "journal.log", "accuracy"))
    assert after > before
    (shared,) = [s for s in optuna.get_all_study_names(url) if not s.endswith((" claims", " agreements", " test"))]
    assert len(optuna.load_study(study_name=shared, storage=url).trials) == after
    assert "is no" not in result.err


def test_a_run_that_is_searched_is_not_trained_meanwhile(tmp_path: Path) -> None:
    first, second = Run(tmp_path / "run"), Run(tmp_path / "run")
    with first.joined():
        with second.joined():
            pass
        said = rf"in use by another nas process \(process {os.getpid()}, a search\)"
        with pytest.raises(UserError, match=said), second.locked():
            pass
    with second.locked(), pytest.raises(UserError, match="in use by another nas process"), first.joined():
        pass
    with first.locked():
        pass


def test_bad_storage_on_the_command_line(here: Path) -> None:
    result = invoke("search", "--run", "run", "--storage", "redis://me:s3cret@host/db")
    assert result.code == 2
    assert "postgresql://user@host/name" in result.message
    assert "s3cret" not in result.message


# Races


def _race(where: Path, log: Path, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(200)
    Journal(where, SPACE, "weights").measure_all([POOL[i] for i in order], Slow(log, 0.001), "race")


def test_no_candidate_is_measured_twice(tmp_path: Path) -> None:
    """Eight processes want the same two hundred candidates of a millisecond each."""
    where, log = tmp_path / "journal.log", tmp_path / "log.txt"
    _ended([_start(_race, where, log, seed) for seed in range(8)])
    begun = Slow(log).begun()
    assert sorted(begun) == sorted(c.id for c in POOL[:200])
    assert dict(Journal(where, SPACE, "weights").items()) == {c: accuracy_of(c) for c in POOL[:200]}


def _propose(where: Path, out: Path, number: int) -> None:
    journal = Journal(where, SPACE, "weights")
    out.write_text(json.dumps([journal.agree('{"seed": 0}', f"step {i}", [number, i], list[int]) for i in range(20)]))


def test_workers_agree_on_one_proposal(tmp_path: Path) -> None:
    outs = [tmp_path / str(i) for i in range(4)]
    _ended([_start(_propose, tmp_path / "journal.log", out, i) for i, out in enumerate(outs)])
    (agreed,) = {out.read_text() for out in outs}
    found = json.loads(agreed)
    assert [step for _, step in found] == list(range(20))
    assert {number for number, _ in found} <= {0, 1, 2, 3}


def test_a_search_begins_with_what_was_known_when_it_first_began(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.log", SPACE, "weights")
    assert journal.begin('{"seed": 0}') == 0
    journal.measure_all(POOL[:5], accuracy_of, "x")
    again = Journal(tmp_path / "journal.log", SPACE, "weights")
    assert again.begin('{"seed": 0}') == 0
    assert again.begin('{"seed": 1}') == 5


# Workers that die


def _forever(where: Path, log: Path) -> None:
    Journal(where, SPACE, "weights").measure_all(POOL[:3], Slow(log, 600), "x")


def test_kill_9_gives_its_candidate_out_again_at_once(tmp_path: Path) -> None:
    where, log, second = tmp_path / "journal.log", tmp_path / "log.txt", tmp_path / "second.txt"
    journal = Journal(where, SPACE, "weights")
    journal.recall(POOL[3], accuracy_of, "before")
    killed = _start(_forever, where, log)
    while not Slow(log).begun():
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    began = time.monotonic()  # nobody has asked how it ended: the process is still known to the system
    assert journal.measure_all(POOL[:4], Slow(second), "x") == [accuracy_of(c) for c in POOL[:4]]
    assert time.monotonic() - began < nas.journal.claims.STALE_SECONDS / 2
    killed.join()
    assert sorted(Slow(second).begun()) == sorted(c.id for c in POOL[:3])
    failed = _trials(where, "accuracy claims", TrialState.FAIL)
    assert [trial.user_attrs["process"] for trial in failed] == [killed.pid]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _claim_of_another_machine(storage: Storage, study: int) -> int:
    facts = {"candidate": "a", "worker": "other", "host": "elsewhere", "process": os.getpid(), "beat": 0}
    return storage.create(study, optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=facts))


def test_a_silent_claim_of_another_machine_is_given_out_after_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    storage = Storage(tmp_path / "journal.log")
    study = storage.study("claims")
    claims = Claims(storage, study, Timing(10, 60), clock)
    other = _claim_of_another_machine(storage, study)
    for beat in range(1, 4):  # as long as it shows life it stays, however long it takes
        for _ in range(5):
            assert claims.live() == {"a": "other"}
            clock.now += 11
        storage.attribute(other, "beat", beat)
    for _ in range(6):
        assert claims.live() == {"a": "other"}
        clock.now += 11
    assert claims.live() == {}
    with claims.on("a") as ours:
        assert ours


def test_after_a_long_silence_of_all_nobody_is_given_up(tmp_path: Path) -> None:
    """Where this worker slept, or the storage was down, the others had no way to be heard."""
    clock = Clock()
    storage = Storage(tmp_path / "journal.log")
    study = storage.study("claims")
    claims = Claims(storage, study, Timing(10, 60), clock)
    _claim_of_another_machine(storage, study)
    assert claims.live() == {"a": "other"}
    clock.now += 3600
    assert claims.live() == {"a": "other"}


def test_a_long_measurement_shows_life(tmp_path: Path) -> None:
    where, log = tmp_path / "journal.log", tmp_path / "log.txt"
    storage = Storage(where)
    timing = Timing(0.02, 0.5)
    first = Journal(where, SPACE, "weights", timing=timing)
    thread = threading.Thread(target=first.recall, args=(POOL[0], Slow(log, 1.2), "x"))
    thread.start()
    while not Slow(log).begun():
        time.sleep(0.01)
    second = Journal(where, SPACE, "weights", timing=timing)
    assert second.recall(POOL[0], Slow(log), "x") == accuracy_of(POOL[0])
    thread.join()
    assert Slow(log).begun() == [POOL[0].id]
    (claim, *_) = storage.trials(storage.study("accuracy claims"))
    assert claim.user_attrs["beat"] > 5


def test_the_first_record_of_a_worker_that_came_back_counts(tmp_path: Path) -> None:
    """Two workers that both measured, since one was given up: a candidate counts once."""
    first, second = (Journal(tmp_path / "journal.log", SPACE, "weights") for _ in range(2))
    first.add(POOL[0], Accuracy(1, 10), 0.1, "first")
    second.add(POOL[0], Accuracy(2, 10), 0.1, "second")
    for journal in (first, second, Journal(tmp_path / "journal.log", SPACE, "weights")):
        assert journal.items() == [(POOL[0], Accuracy(1, 10))]


def test_a_measurement_that_fails_is_free_for_others(tmp_path: Path) -> None:
    def broken(candidate: Candidate) -> Accuracy:
        raise KeyboardInterrupt

    first, second = (Journal(tmp_path / "journal.log", SPACE, "weights") for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        first.measure_all(POOL[:2], broken, "x")
    assert second.recall(POOL[0], accuracy_of, "x") == accuracy_of(POOL[0])


# What lies in the storage


def _trials(where: Path, name: str, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(where))))
    return study.get_trials(states=states or None)


def test_the_study_reads_as_any_study_of_optuna(tmp_path: Path) -> None:
    where = tmp_path / "journal.log"
    Journal(where, SPACE, "weights").measure_all(POOL[:4], accuracy_of, "x")
    trials = _trials(where, "accuracy")
    assert [trial.value for trial in trials] == [accuracy_of(c).value for c in POOL[:4]]
    for trial, candidate in zip(trials, POOL, strict=False):
        assert trial.params == {**dict(candidate.architecture.genes), "precision": "int8"}
    assert all(trial.state == TrialState.COMPLETE for trial in _trials(where, "accuracy claims"))


def test_splits_are_kept_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.log", SPACE, "weights")
    journal.recall(POOL[0], lambda c: Accuracy(1, 10), "x")
    assert journal.recall(POOL[0], lambda c: Accuracy(2, 10), "x", TEST) == Accuracy(2, 10)
    assert journal.items() == [(POOL[0], Accuracy(1, 10))]


def test_a_journal_learns_what_another_holds(tmp_path: Path) -> None:
    mine, other = (Journal(tmp_path / name, SPACE, "weights") for name in ("a.log", "b.log"))
    mine.add(POOL[0], Accuracy(1, 10), 0.5, "mine")
    other.add(POOL[0], Accuracy(2, 10), 0.5, "other")
    other.add(POOL[1], Accuracy(3, 10), 0.5, "other")
    other.add(POOL[2], Accuracy(4, 10), 0.5, "other", TEST)
    mine.learn(other)
    assert mine.items() == [(POOL[0], Accuracy(1, 10)), (POOL[1], Accuracy(3, 10))]
    assert mine.recall(POOL[2], lambda c: pytest.fail("measured again"), "x", TEST) == Accuracy(4, 10)


def test_a_line_that_a_killed_worker_left_half_is_cut_by_the_next(tmp_path: Path) -> None:
    """While others have the file open: Optuna's own reader waits for the rest of such a line forever."""
    where = tmp_path / "journal.log"
    first, second = (Journal(where, SPACE, "weights") for _ in range(2))
    first.add(POOL[0], accuracy_of(POOL[0]), 0.1, "x")
    with open(where, "ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "kill')
    second.measure_all(POOL[:3], accuracy_of, "x")
    first.refresh()
    assert [c for c, _ in first.items()] == POOL[:3]


def test_studies_of_other_supernets_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    name = study_name(SPACE, "aaaa")
    Journal(url, SPACE, "aaaa", name).recall(POOL[0], accuracy_of, "x")
    assert not len(Journal(url, SPACE, "bbbb", study_name(SPACE, "bbbb")))
    with pytest.raises(UserError, match=r"mbv3-tiny, aaaa.*mbv3-tiny, bbbb"):
        Journal(url, SPACE, "bbbb", name)
    with pytest.raises(UserError, match=r"mbv3-tiny, aaaa.*mbv3-large, aaaa"):
        Journal(url, get_space("mbv3-large"), "aaaa", name)
    foreign = optuna.create_study(storage=url, study_name="mine")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UserError, match="not written by nas"):
        Journal(url, SPACE, "aaaa", "mine")


# A storage that does not answer


def test_a_folder_that_is_gone_for_a_while(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared, away = tmp_path / "shared", tmp_path / "away"
    shared.mkdir()
    journal = Journal(shared / "journal.log", SPACE, "weights")
    journal.recall(POOL[0], accuracy_of, "x")
    shared.rename(away)
    threading.Timer(0.5, away.rename, (shared,)).start()
    assert journal.recall(POOL[1], accuracy_of, "x") == accuracy_of(POOL[1])
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "does not answer (No such file or directory); trying for 300 s more" in first
    assert "answers again, after" in last
    assert len(Journal(shared / "journal.log", SPACE, "weights")) == 2


def test_a_locked_journal_is_given_up_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.journal.journal_file, "LOCK_SECONDS", 0.05)
    journal = Journal(tmp_path / "journal.log", SPACE, "weights", patience=0.5)
    with FileLock(tmp_path / "journal.log.lock"), pytest.raises(UserError) as caught:
        journal.add(POOL[0], accuracy_of(POOL[0]), 0.1, "x")
    assert "did not answer for" in str(caught.value)
    assert "locked by another process" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_database_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(nas.journal.storage.CONNECT, "sqlite", {"timeout": 0.01})
    journal = Journal(f"sqlite:///{tmp_path}/shared.db", SPACE, "weights")
    holder = sqlite3.connect(tmp_path / "shared.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.7, holder.execute, ("ROLLBACK",)).start()
    journal.add(POOL[0], accuracy_of(POOL[0]), 0.1, "x")
    assert "database is locked" in capsys.readouterr().err
    assert journal.items() == [(POOL[0], accuracy_of(POOL[0]))]


def test_a_server_that_is_down_is_given_up_without_its_password() -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://nas:pass-word@127.0.0.1:1/studies"
    with pytest.raises(UserError, match=r"nas:\*\*\*@127\.0\.0\.1:1/studies did not answer for") as caught:
        Journal(url, SPACE, "weights", patience=0.5)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host", "'redis'"), ("nonsense", "not the URL of a database"),
        ("postgresql://u:s3@h:port/d", "not the URL"),
        ("sqlite://", "in memory"), ("", "not the URL"),
    ],
)  # fmt: skip
def test_what_is_no_database_is_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_url(url)
    assert "s3" not in str(caught.value)


def test_passwords_are_never_shown() -> None:
    assert shown("postgresql://me:s3cret@host/db") == "postgresql://me:***@host/db"
    assert "s3cret" not in shown("postgresql://host/db?password=s3cret&user=me")
    assert without_password("--storage=mysql://me:s3cret@host/db") == "--storage=mysql://me:***@host/db"
    assert without_password("mysql://me:s3cret@host/db") == "mysql://me:***@host/db"
    assert without_password("--seed") == "--seed"


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"needs the package psycopg; in the clone: pip install .*'\.\[storage\]'"):
        Storage("postgresql://nas:x@127.0.0.1:1/studies", patience=0.1)
