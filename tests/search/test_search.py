"""The search against a space small enough to know every answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.candidates.candidate import Candidate
from nas.journal.journal import Journal
from nas.search.baselines import uniform_vectors
from nas.search.bounds import Bounds, other_targets
from nas.search.config import SearchConfig, check_config
from nas.search.costs import CandidateCosts
from nas.search.evolution.evolve import evolve
from nas.search.objectives import parse_objectives
from nas.search.pareto import front, hypervolume
from nas.search.search import search
from nas.tasks.classification import Accuracy
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import InfeasibleError, UsageError
from search_spaces.genes import Vectors
from search_spaces.schema import to_json
from tests.support.long_forms import long_form

SPACE = get_space("mbv3-tiny")


@pytest.fixture(scope="module")
def costs() -> CandidateCosts:
    return CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")


class Table:
    """A made-up supernet: accuracy grows with cost, and some genes are worth more than they cost."""

    def __init__(self, costs: CandidateCosts) -> None:
        self.costs = costs
        self.calls: list[tuple[Candidate, str]] = []
        self.effect = np.random.default_rng(0).standard_normal(len(SPACE.genes))

    def __call__(self, candidate: Candidate, split: str) -> Accuracy:
        self.calls.append((candidate, split))
        vector = SPACE.encode(candidate.architecture)[None]
        scaled = (vector / np.maximum(SPACE.cardinality - 1, 1))[0]
        value = 0.75 + 0.03 * np.log(self.costs.of(vector)[0, 2] / 1e5) + 0.01 * scaled @ self.effect
        return Accuracy(int(10_000 * min(value, 0.99)), 10_000)


def _run(costs: CandidateCosts, path: Path, config: SearchConfig, table: Table | None = None) -> dict[str, Any]:
    journal = Journal(path / "journal.log", SPACE, "weights")
    result: dict[str, Any] = to_json(search(costs, config, journal, table or Table(costs), lambda entry: None))
    assert all(seconds >= 0 for seconds in result.pop("seconds").values())
    return result


def test_every_member_of_the_front_was_measured(costs: CandidateCosts, tmp_path: Path) -> None:
    table = Table(costs)
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 24), table)
    searched = {c.id for c, split in table.calls if split == "search"}
    tested = [c.id for c, split in table.calls if split == "test"]
    assert {m["id"] for m in result["front"]} <= searched
    assert sorted(tested) == sorted(m["id"] for m in result["front"])
    assert len(searched) == len([c for c, split in table.calls if split == "search"])
    assert result["measurements"] == {"new": 24, "prior": 0}
    assert result["baselines"]["random"]["measurements"] == 24
    points = np.array([[1 - m["accuracy"]["value"], m["latency_ms"], m["size_bytes"]] for m in result["front"]])
    assert front(points).all()


def test_a_result_holds_all_that_was_measured(costs: CandidateCosts, tmp_path: Path) -> None:
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 24))
    rows = {tuple(row) for row in result["measured"]}
    assert len(rows) == 24
    assert rows >= {(m["accuracy"]["value"], m["latency_ms"], m["size_bytes"]) for m in result["front"]}
    baseline, corner = result["baselines"]["random"], list(result["reference"].values())
    assert list(baseline["hypervolumes"]) == ["4", "8", "12", "16", "20", "24"]
    for count, volume in baseline["hypervolumes"].items():
        points = np.array([[1 - accuracy, *rest] for accuracy, *rest in baseline["measured"][: int(count)]])
        assert volume == pytest.approx(hypervolume(points / corner, np.ones(3)))
    before = result["predictor"]["beforehand"]
    gaps = np.diff(before["pairs"], axis=1)
    assert (len(gaps), np.sqrt(np.mean(gaps**2))) == (12, pytest.approx(before["rmse"]))


@pytest.mark.parametrize("seed", long_form([0], [1, 2]))
def test_beats_random_search_at_the_same_budget(costs: CandidateCosts, tmp_path: Path, seed: int) -> None:
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 40, seed=seed))
    assert result["hypervolume"] > result["baselines"]["random"]["hypervolume"]
    assert result["predictor"]["random"]["tau"] > result["predictor"]["random_log_macs"]["tau"]


def test_same_seed_same_result(costs: CandidateCosts, tmp_path: Path) -> None:
    config = SearchConfig("cortex-a72", "int8", 18, seed=3)
    results = []
    for name in "ab":
        (tmp_path / name).mkdir()
        results.append(_run(costs, tmp_path / name, config))
    assert results[0] == results[1]


def test_a_finished_search_costs_nothing_again(costs: CandidateCosts, tmp_path: Path) -> None:
    config = SearchConfig("cortex-a72", "int8", 18)
    first = _run(costs, tmp_path, config)
    table = Table(costs)
    assert _run(costs, tmp_path, config, table) == first
    assert all(split == "test" for _, split in table.calls)


def test_a_later_search_starts_from_what_is_known(costs: CandidateCosts, tmp_path: Path) -> None:
    _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 18))
    table = Table(costs)
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 6, Bounds(latency_ms=1.0)), table)
    assert result["measurements"]["prior"] >= 18
    assert result["measurements"]["new"] == 6
    assert all(m["latency_ms"] <= 1.0 for m in result["front"])


@pytest.mark.parametrize("bounds", [Bounds(latency_ms=0.9), Bounds(size_bytes=8e4, macs=6e5)])
def test_bounds_hold(costs: CandidateCosts, tmp_path: Path, bounds: Bounds) -> None:
    table = Table(costs)
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 16, bounds), table)
    assert result["front"]
    rows = costs.of(SPACE.encode_many([c.architecture for c, _ in table.calls]))
    assert (rows <= costs.user_limits(bounds)).all()


def test_smallest_reachable_is_named_and_true(costs: CandidateCosts) -> None:
    vectors = SPACE.sample(np.random.default_rng(0), 20_000)
    least = costs.of(vectors)[:, 0].min()
    with pytest.raises(InfeasibleError, match=r"latency <= 0\.001 ms is not reachable: the smallest is") as caught:
        costs.feasible_start(Bounds(latency_ms=0.001))
    named = float(str(caught.value).rsplit("the smallest is ", 1)[1].split()[0])
    assert named <= least * 1.001
    assert caught.value.exit_code == 3


def test_feasible_sampling_is_feasible_and_distinct(costs: CandidateCosts) -> None:
    tight = Bounds(latency_ms=float(costs.of(costs.feasible_start(Bounds())[None])[0, 0]) * 1.01)
    found = costs.sample(np.random.default_rng(0), tight, 50)
    assert len(found) >= 5
    assert len(np.unique(found, axis=0)) == len(found)
    assert (costs.of(found) <= costs.user_limits(tight)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measurements": 3}, "`measurements` is 3; it must be at least 4"),
        ({"seconds": 0.0}, "`seconds` is 0; it must be above 0 seconds"),
        ({"batch": 0}, "`batch` is 0; it must be at least 1"),
        ({"patience": -1}, "`patience` is -1; it must be at least 0"),
        ({"calibration_images": 1}, "`calibration_images` is 1; it must be at least 2"),
        ({"predictor": "gpp"}, "did you mean 'gp'"),
        ({"algorithm": "nsga"}, "did you mean 'nsga2'"),
        ({"compare": "random,random"}, "names a baseline twice"),
        ({"objectives": "accuracy,speed"}, "unknown objective 'speed'"),
    ],
)
def test_settings_that_no_search_can_follow(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_config(replace(SearchConfig("cortex-a72", "int8"), **change))


def test_evolution_finds_the_front_of_a_separable_problem() -> None:
    """Objectives that are sums over genes have known extremes; the front must hold both."""
    rng = np.random.default_rng(0)
    gain = rng.random((len(SPACE.genes), 4))

    def score(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
        active = SPACE.active(vectors)
        value = np.where(active, gain[np.arange(len(SPACE.genes)), vectors], 0).sum(1)
        return np.column_stack([-value, vectors.sum(1).astype(float)]), np.zeros(len(vectors))

    vectors, objectives = evolve(SPACE, score, SPACE.extremes(), 0)
    assert objectives[:, 1].min() == 0
    assert front(objectives).all()
    sampled = score(SPACE.sample(rng, 20_000))[0]
    assert objectives[:, 0].min() < sampled[:, 0].min()
    np.testing.assert_array_equal(SPACE.canonical(vectors), vectors)


def test_descent_ends_where_rounding_differs(costs: CandidateCosts) -> None:
    """The same candidate can score differently by a rounding error, alone and among others."""
    calls = 0

    def noisy(vectors: Vectors) -> np.ndarray:
        nonlocal calls
        calls += 1
        assert calls < 100
        return np.full(len(vectors), 0.7) * (1 + 1e-15 * np.random.default_rng(calls).standard_normal(len(vectors)))

    np.testing.assert_array_equal(costs._descend(noisy), SPACE.extremes()[0])


def test_no_measurement_outside_the_bounds_hides_one_inside(costs: CandidateCosts, tmp_path: Path) -> None:
    """An earlier search may know a network that is better in all objectives but has too many MACs."""
    vectors = SPACE.sample(np.random.default_rng(0), 3000)
    rows = costs.of(vectors)
    heavy, light = next(
        (i, j)
        for i in range(len(rows))
        for j in np.flatnonzero((rows[i, :2] < rows[:, :2]).all(1) & (rows[i, 2] > 1.02 * rows[:, 2]))[:1]
    )
    best = {vectors[heavy].tobytes(): 0.95, vectors[light].tobytes(): 0.90}

    def measure(candidate: Candidate, split: str) -> Accuracy:
        return Accuracy(int(100 * best.get(SPACE.encode(candidate.architecture).tobytes(), 0.5)), 100)

    journal = Journal(tmp_path / "journal.log", SPACE, "weights")
    for i in (heavy, light):
        candidate = Candidate(SPACE.decode(vectors[i]), "int8")
        journal.add(candidate, measure(candidate, "search"), 0.0, "before")
    config = SearchConfig("cortex-a72", "int8", 4, Bounds(macs=float(rows[light, 2])), prior=2)
    front = search(costs, config, journal, measure, lambda entry: None).front
    ids = [member.id for member in front]
    assert Candidate(SPACE.decode(vectors[light]), "int8").id in ids
    assert Candidate(SPACE.decode(vectors[heavy]), "int8").id not in ids


@pytest.mark.parametrize(
    ("objectives", "columns"),
    [
        ("accuracy,latency", ["latency_ms"]),
        ("accuracy,macs,memory", ["macs", "peak_activation_bytes"]),
        ("accuracy,latency,latency:cortex-a53,size", ["latency_ms", "cortex-a53", "size_bytes"]),
    ],
)
def test_the_front_is_of_the_objectives_asked_for(
    costs: CandidateCosts, tmp_path: Path, objectives: str, columns: list[str]
) -> None:
    others = tuple(load_target(t) for t in other_targets(parse_objectives(objectives), Bounds()))
    wide = replace(costs, others=others)
    result = _run(wide, tmp_path, SearchConfig("cortex-a72", "int8", 18, objectives=objectives), Table(costs))
    journal = Journal(tmp_path / "journal.log", SPACE, "weights")
    measured = journal.items()[:18]
    vectors = SPACE.encode_many([c.architecture for c, _ in measured])
    points = np.column_stack(
        [[1 - a.value for _, a in measured], wide.of(vectors)[:, wide.indices(parse_objectives(objectives))]]
    )
    undominated = [i for i, p in enumerate(points) if not any((q <= p).all() and (q < p).any() for q in points)]
    assert {m["id"] for m in result["front"]} == {measured[i][0].id for i in undominated}
    for member in result["front"]:
        i = [c.id for c, _ in measured].index(member["id"])
        told = [member["latency_elsewhere_ms"].get(c, member.get(c)) for c in columns]
        assert told == pytest.approx(points[i, 1:])
    volume = result["hypervolume"]
    reference = np.array(list(result["reference"].values()))
    assert volume == pytest.approx(hypervolume(points / reference, np.ones(len(reference))))


def test_a_bound_elsewhere_holds_there(costs: CandidateCosts, tmp_path: Path) -> None:
    slow = load_target("cortex-a53")
    wide = replace(costs, others=(slow,))
    limit = float(np.median(wide.of(SPACE.sample(np.random.default_rng(1), 200))[:, 4]))
    bounds = Bounds(elsewhere={"cortex-a53": limit})
    table = Table(costs)
    result = _run(wide, tmp_path, SearchConfig("cortex-a72", "int8", 14, bounds), table)
    assert other_targets(parse_objectives(result["config"]["objectives"]), bounds) == ("cortex-a53",)
    vectors = SPACE.encode_many([c.architecture for c, _ in table.calls])
    assert (slow.latency.predict(costs.tables.features(vectors), "int8") <= limit).all()


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ("accuracy", "two to four"),
        ("latency,size", "without accuracy, which is what a search measures"),
        ("accuracy,latncy", "latency"),
        ("accuracy,latency,latency", "twice"),
        ("accuracy,latency,size,macs,memory", "two to four"),
        ("accuracy,latency:", "unknown"),
    ],
)
def test_objectives_that_mean_nothing(objectives: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_objectives(objectives)


def test_baselines_play_with_as_many_measurements(costs: CandidateCosts, tmp_path: Path) -> None:
    table = Table(costs)
    bounds = Bounds(latency_ms=float(np.median(costs.of(SPACE.sample(np.random.default_rng(1), 200))[:, 0])))
    config = SearchConfig("cortex-a72", "int8", 30, bounds, compare="random,uniform,nsga2")
    result = _run(costs, tmp_path, config, table)
    assert list(result["baselines"]) == ["random", "uniform", "nsga2"]
    assert result["baselines"]["nsga2"]["measurements"] == 30
    assert 2 <= result["baselines"]["uniform"]["measurements"] <= 30
    assert all(result["hypervolume"] > b["hypervolume"] for b in result["baselines"].values())
    rows = costs.of(SPACE.encode_many([c.architecture for c, _ in table.calls]))
    assert (rows[:, 0] <= bounds.latency_ms).all()
    searched = [c.id for c, split in table.calls if split == "search"]
    assert len(searched) == len(set(searched))


def test_uniformly_scaled_subnets_share_a_level_by_kind() -> None:
    vectors = uniform_vectors(SPACE)
    assert any((v == SPACE.extremes()[0]).all() for v in vectors)
    assert any((v == SPACE.extremes()[1]).all() for v in vectors)
    for vector in vectors:
        architecture = SPACE.decode(vector)
        genes = dict(architecture.genes)
        for kind in ("kernel", "expand", "depth"):
            assert len({v for name, v in genes.items() if name.endswith(f".{kind}")}) <= 1


def test_no_baseline_where_none_is_asked_for(costs: CandidateCosts, tmp_path: Path) -> None:
    table = Table(costs)
    result = _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 14, compare="none"), table)
    assert result["baselines"] == {}
    assert len([c for c, split in table.calls if split == "search"]) == 14
    assert result["gain_over_random"] is None
    with pytest.raises(UsageError, match="unknown baseline"):
        _run(costs, tmp_path, SearchConfig("cortex-a72", "int8", 14, compare="nsga"), table)
