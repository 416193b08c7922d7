"""The loop on made-up tables small enough to know the true front."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.genes import plain_space
from nas.search.loop import FIRST_DESIGNS, Loop, LoopSettings, first_designs, optimise
from nas.search.pareto import front, hypervolume
from nas.search.problem import Problem, problem
from predictors.accuracy.selection import WORTH_ASKING
from search_spaces.errors import UsageError
from search_spaces.genes import Gene, Vectors, all_vectors

SPACE = plain_space(
    "made-up",
    [
        Gene("width", (16, 24, 32, 48)),
        Gene("resolution", (96, 128, 160)),
        Gene("depth", (1, 2, 3)),
        *(Gene(f"b{block}.kernel", (3, 5, 7), ("depth", block + 1) if block else None) for block in range(3)),
    ],
)
EVERYTHING = all_vectors(SPACE)
WIDE = plain_space("wide", {f"gene{i}": range(3) for i in range(12)})  # 531,441: too many to enumerate in the loop


def _costs(vectors: Vectors) -> np.ndarray:
    kernels = np.where(SPACE.active(vectors)[:, 3:], (vectors[:, 3:] + 1.5) ** 2, 0).sum(1)
    return ((vectors[:, 0] + 2) * (vectors[:, 1] + 3) ** 2 * (2 + kernels))[:, None] / 100.0


def _accuracy(vectors: Vectors) -> np.ndarray:
    effect = np.random.default_rng(5).random((6, 4))
    active = SPACE.active(vectors)
    bonus = np.where(active, effect[np.arange(6), vectors], 0).sum(1)
    return 0.6 + 0.05 * np.log(_costs(vectors)[:, 0]) + 0.03 * bonus


REFERENCE = np.array([1 - _accuracy(EVERYTHING).min(), 1.01 * _costs(EVERYTHING).max()])
PROBLEM = problem(SPACE, _costs)


def _volume(vectors: Vectors) -> float:
    return hypervolume(np.column_stack([1 - _accuracy(vectors), _costs(vectors)]) / REFERENCE, np.ones(2))


class Asked:
    """Answers from the table, and remembers the questions."""

    def __init__(self) -> None:
        self.vectors: list[bytes] = []

    def __call__(self, vector: Vectors) -> float:
        self.vectors.append(vector.tobytes())
        return float(_accuracy(vector[None])[0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_the_true_front_of_a_table(seed: int) -> None:
    asked = Asked()
    found = optimise(PROBLEM, asked, REFERENCE, 60, settings=LoopSettings(seed=seed))
    best = _volume(EVERYTHING)
    assert len(asked.vectors) == len(set(asked.vectors)) == 60
    assert _volume(found.vectors) > 0.99 * best
    random = EVERYTHING[np.random.default_rng(seed).permutation(len(EVERYTHING))[:60]]
    assert _volume(found.vectors) > _volume(random)


def test_what_it_says_of_the_front_is_true() -> None:
    found = optimise(PROBLEM, Asked(), REFERENCE, 30)
    points = np.column_stack([1 - found.accuracy, _costs(found.vectors)])
    assert set(found.front) == set(np.flatnonzero(front(points)))
    assert (np.diff(points[found.front, 1]) > 0).all()
    np.testing.assert_allclose(found.accuracy, _accuracy(found.vectors))
    assert found.volumes[-1] == pytest.approx(_volume(found.vectors))
    assert (np.diff(found.volumes) >= 0).all()
    assert len(found.volumes) == 30


def test_same_seed_same_questions() -> None:
    runs = [optimise(PROBLEM, Asked(), REFERENCE, 30, settings=LoopSettings(seed=s)).vectors for s in (4, 4, 5)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_small_space_ends_when_all_is_measured() -> None:
    tiny = plain_space("tiny", {"a": (1, 2, 3), "b": (1, 2, 3, 4, 5)})
    made = problem(tiny, lambda v: v.sum(1, keepdims=True) + 1.0)
    found = optimise(made, lambda v: 0.5 + 0.02 * float(v.sum()), np.array([0.6, 9.0]), 100)
    assert len(found.vectors) == len(np.unique(found.vectors, axis=0)) == tiny.size


def _tight(limit: int) -> Problem:
    """A space too large to enumerate of which few are within the bound."""
    return problem(
        WIDE, lambda v: v.sum(1, keepdims=True) + 1.0, violation=lambda v: np.maximum(v.sum(1) / limit - 1.0, 0.0)
    )


def test_tight_bounds_are_kept_and_searched_to_the_end() -> None:
    """One vector of sum 0, twelve of sum 1, and 78 of sum 2."""
    found = optimise(_tight(2), lambda v: 0.5 + 0.01 * float(v @ np.arange(12)), np.array([0.6, 4.0]), 200)
    assert (found.vectors.sum(1) <= 2).all()
    assert len(np.unique(found.vectors, axis=0)) == len(found.vectors) == 1 + 12 + 78


def test_measurements_outside_the_bounds_teach_but_stay_off_the_front() -> None:
    loop = Loop(_tight(2), LoopSettings(), np.array([0.6, 4.0]))
    vectors = np.concatenate([WIDE.extremes(), WIDE.sample(np.random.default_rng(0), 8)])
    loop.tell(vectors, np.linspace(0.5, 0.9, 10))
    assert len(loop.points()) == 1
    assert loop.volumes[-1] == hypervolume(loop.points() / loop.reference, np.ones(2))
    assert (loop.ask(4).sum(1) <= 2).all()


@pytest.mark.parametrize("space", [SPACE, WIDE], ids=lambda s: s.name)
def test_pending_candidates_are_not_proposed(space: Any) -> None:
    made = PROBLEM if space is SPACE else _tight(9)
    rng = np.random.default_rng(0)
    known = np.unique(np.concatenate([space.extremes()[:1], space.sample(rng, 400)[:15]]), axis=0)
    loop = Loop(made, LoopSettings(), np.array([0.7, 30.0]))
    loop.tell(known, 0.5 + 0.01 * known.sum(1))
    first = loop.ask(4)
    second = loop.ask(4, pending=first)
    rows = [row.tobytes() for row in np.concatenate([known, first, second])]
    assert len(set(rows)) == len(known) + 8


def test_stops_when_the_hypervolume_has_stopped_growing() -> None:
    def level(vector: Vectors) -> float:
        return 0.5  # nothing to be gained but by the smallest

    found = optimise(PROBLEM, level, np.array([0.6, REFERENCE[1]]), 200, patience=20)
    assert FIRST_DESIGNS + 20 < len(found.vectors) < 60
    growth = found.volumes[-1] / found.volumes[-21] - 1
    assert 0 <= growth < 1e-3


def test_stops_when_the_time_is_over() -> None:
    def slow(vector: Vectors) -> float:
        time.sleep(0.01)
        return float(_accuracy(vector[None])[0])

    assert len(optimise(PROBLEM, slow, REFERENCE, 200, seconds=0.05).vectors) == FIRST_DESIGNS


def test_first_designs_span_the_costs() -> None:
    rows = first_designs(PROBLEM, 0, 12)
    assert len(np.unique(rows, axis=0)) == 12
    np.testing.assert_array_equal(rows[:2], SPACE.extremes())
    ordered = np.sort(np.log(_costs(rows)[:, 0]))
    widest = np.diff(ordered).max()
    assert widest < 2.0 * (ordered[-1] - ordered[0]) / 11
    assert (first_designs(PROBLEM, 0, 4)[:2] == SPACE.extremes()).all()


def test_the_predictor_is_compared_once_enough_is_known() -> None:
    rows = EVERYTHING[np.random.default_rng(0).permutation(len(EVERYTHING))[: WORTH_ASKING + 1]]
    loop = Loop(PROBLEM, LoopSettings(), REFERENCE)
    loop.tell(rows[:60], _accuracy(rows[:60]))
    assert loop.predictor().kind == "gp"
    assert loop.choice.describe() == "gp (not compared with others)"
    loop.tell(rows[60:], _accuracy(rows[60:]))
    assert loop.predictor().kind == loop.choice.kind
    assert loop.choice.measurements == WORTH_ASKING + 1
    assert set(loop.choice.rmse) == {"gp", "boosting", "mlp"}


@pytest.mark.parametrize("kind", ["gp", "boosting", "mlp"])
def test_a_predictor_can_be_asked_for(kind: str) -> None:
    loop = Loop(PROBLEM, LoopSettings(predictor=kind), REFERENCE)
    rows = first_designs(PROBLEM, 0, 12)
    loop.tell(rows, _accuracy(rows))
    assert loop.predictor().kind == kind
    assert len(loop.ask(3)) == 3


def test_a_second_cost_from_what_is_known() -> None:
    """Accuracies measured for one cost give a front for another without measuring anything."""
    found = optimise(PROBLEM, Asked(), REFERENCE, 50)

    def other(vectors: Vectors) -> np.ndarray:
        return 5.0 + vectors[:, :1] ** 2 + 2.0 * vectors[:, 2:3]

    corner = np.array([REFERENCE[0], 1.01 * other(EVERYTHING).max()])
    loop = Loop(problem(SPACE, other, PROBLEM.features), LoopSettings(), corner)
    loop.tell(found.vectors, found.accuracy)
    predicted = 1 - loop.predictor().mean_of(PROBLEM.features(EVERYTHING))
    vectors = EVERYTHING[front(np.column_stack([predicted, other(EVERYTHING)]))]

    def volume(rows: Vectors) -> float:
        return hypervolume(np.column_stack([1 - _accuracy(rows), other(rows)]) / corner, np.ones(2))

    assert volume(vectors) > 0.95 * volume(EVERYTHING)


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    found, table, space = names["found"], names["table"], names["space"]
    assert len(capsys.readouterr().out.splitlines()) == len(found.front)
    assert [table[space.decode(v)] for v in found.vectors] == found.accuracy.tolist()
    everything = all_vectors(space)
    points = np.column_stack([[1 - table[space.decode(v)] for v in everything], names["costs"](everything)])
    best = hypervolume(points / [0.4, 40.0], np.ones(2))
    assert len(found.vectors) == 24
    assert found.volumes[-1] > 0.99 * best


def test_unknown_algorithm() -> None:
    with pytest.raises(UsageError, match="did you mean 'nsga2'"):
        Loop(PROBLEM, LoopSettings(algorithm="nsga4"), REFERENCE)
