"""What a journal says of the work of others: believed only where it has the form that workers write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.candidates.candidate import Candidate
from nas.journal.journal import Journal
from nas.journal.storage import Storage
from nas.search.config import SearchConfig
from nas.search.costs import CandidateCosts
from nas.search.session import Session
from nas.store.host import here
from nas.tasks.classification import Accuracy
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface

SPACE = get_space("mbv3-tiny")
SETTINGS = SearchConfig("cortex-a72", "int8", 18, seed=1)
VECTORS = np.unique(SPACE.sample(np.random.default_rng(0), 20), axis=0)


def accuracy_of(candidate: Candidate) -> Accuracy:
    return Accuracy(1, 2)


@pytest.fixture(scope="module")
def costs() -> CandidateCosts:
    return CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")


def _session(where: Path, costs: CandidateCosts) -> Session:
    return Session(costs, SETTINGS, Journal(where, SPACE, "weights"), lambda c, split: accuracy_of(c), print)


def test_a_worker_whose_time_is_over_measures_the_batch_that_others_agreed_on(
    tmp_path: Path, costs: CandidateCosts
) -> None:
    first, second = (_session(tmp_path / "journal.log", costs) for _ in range(2))
    stopped, batch = first.agree("", VECTORS[:3])
    assert (stopped, batch.tolist()) == ("", VECTORS[:3].tolist())
    stopped, batch = second.agree("the time is over", VECTORS[:0])
    assert (stopped, batch.tolist()) == ("", VECTORS[:3].tolist())


AGREED = {"stopped": "", "batch": VECTORS[:3].tolist()}


@pytest.mark.parametrize(
    ("agreed", "said"),
    [
        (AGREED, ""),
        (3, "is 3, not a table"),
        ({"batch": []}, "stopped is missing"),
        ({"stopped": "", "batch": [["x"]]}, 'batch[0][0]: "x" is not a whole number'),
        ({"stopped": "", "batch": [[10**6] * len(SPACE.genes)]}, "is not of mbv3-tiny"),
        ({"stopped": "", "batch": [[0] * len(SPACE.genes), [0]]}, "has not the"),
        ({"stopped": "", "batch": []}, "holds nothing that is not measured"),
        ({"stopped": "enough", "batch": []}, ""),
    ],
)
def test_what_workers_agreed_on_is_checked_and_agreed_on_anew(
    tmp_path: Path, costs: CandidateCosts, agreed: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "journal.log"
    session = _session(where, costs)
    session.journal.agree(session.settings, "batch 0", agreed, object)
    stopped, batch = _session(where, costs).agree("", VECTORS[3:6])
    told = capsys.readouterr().err
    if not said:
        assert (stopped, batch.tolist(), told) == (agreed["stopped"], agreed["batch"], "")
        return
    assert (stopped, batch.tolist()) == ("", VECTORS[3:6].tolist())
    first = f'"agreed":[{json.dumps(agreed, separators=(",", ":"))}]'
    (line,) = [n for n, text in enumerate(where.read_text().splitlines(), 1) if first in text]
    assert f"{where}: line {line} is left out (" in told
    assert said in told
    stopped, batch = _session(where, costs).agree("", VECTORS[:2])  # whoever comes later finds the second agreement
    assert (stopped, batch.tolist()) == ("", VECTORS[3:6].tolist())


CLAIM = {"candidate": "a", "worker": "other", "host": "elsewhere", "process": 1, "beat": 0}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "candidate is missing"),
        (CLAIM | {"worker": [1]}, "worker is [1], not a text"),
        (CLAIM | {"host": here(), "process": 2**64}, "process: 18446744073709551616 is not"),
        (CLAIM | {"beat": None}, "beat: null is not"),
    ],
)
def test_damaged_claims_and_agreements_are_left_out(
    tmp_path: Path, facts: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "journal.log"
    storage = Storage(where)
    Journal(where, SPACE, "weights")
    claim = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=facts)
    storage.create(storage.study("accuracy claims"), claim)
    candidate = Candidate(SPACE.smallest, "int8")
    assert Journal(where, SPACE, "weights").recall(candidate, accuracy_of, "x") == accuracy_of(candidate)
    told = capsys.readouterr().err
    assert "line 5 is left out (claim 0" in told
    assert said in told
    agreement = optuna.trial.create_trial(value=0.0, user_attrs={"topic": ["x"], **facts})
    storage.create(storage.study("accuracy agreements"), agreement)
    assert Journal(where, SPACE, "weights").begin('{"seed": 0}') == 1
    assert "is left out (agreement 0.topic is" in capsys.readouterr().err
