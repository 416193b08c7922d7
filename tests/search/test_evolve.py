"""The engine against brute force on spaces that can be enumerated, and against pymoo at equal predictions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.genes import plain_space
from nas.search.config import ALGORITHMS
from nas.search.evolution.archive import Archive
from nas.search.evolution.evolve import additive_effects, evolve, improve, mutate, one_exchange, sweep, weightings
from nas.search.pareto import front, hypervolume
from search_spaces import get_space
from search_spaces.genes import Gene, Vectors, all_vectors
from search_spaces.space import SearchSpace

GATED = plain_space(
    "gated",
    [
        Gene("width", (8, 16, 24)),
        Gene("depth", (1, 2, 3)),
        *(Gene(f"b{block}.kernel", (3, 5, 7), ("depth", block + 1) if block else None) for block in range(3)),
        *(Gene(f"b{block}.expand", (2, 4), ("depth", block + 1) if block else None) for block in range(3)),
    ],
)
LARGE = plain_space("large", {f"gene{i}": range(4) for i in range(30)})


class Tabled:
    """Objectives drawn for every choice of every active gene, with or without terms of pairs; counts its calls."""

    def __init__(self, space: SearchSpace, seed: int, objectives: int = 2, pairs: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.space, genes = space, len(space.genes)
        self.effect = rng.random((genes, int(space.cardinality.max()), objectives))
        self.pair = pairs * rng.standard_normal((genes, genes, objectives))
        self.calls: list[Vectors] = []

    def __call__(self, vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
        self.calls.append(vectors)
        active = self.space.active(vectors)[..., None]
        single = np.where(active, self.effect[np.arange(vectors.shape[1]), vectors], 0.0)
        scaled = np.where(active[..., 0], vectors, 0) / 2.0
        pairs = np.einsum("ni,nj,ijk->nk", scaled, scaled, self.pair)
        return single.sum(1) + pairs, np.zeros(len(vectors))


def _rows(vectors: Vectors) -> set[bytes]:
    return {row.tobytes() for row in vectors}


def test_all_vectors_are_all_architectures() -> None:
    found = all_vectors(GATED)
    assert len(found) == len(_rows(found)) == GATED.size
    assert {GATED.decode(v) for v in found} == set(GATED.enumerate())


@pytest.mark.parametrize("seed", range(4))
def test_small_spaces_are_enumerated(seed: int) -> None:
    score = Tabled(GATED, seed, pairs=0.3)
    vectors, objectives = evolve(GATED, score, GATED.extremes(), 0)
    everything = all_vectors(GATED)
    truth = score(everything)[0]
    assert _rows(vectors) == _rows(everything[front(truth)])
    np.testing.assert_array_equal(objectives, score(vectors)[0])


@pytest.mark.parametrize("seed", range(3))
def test_evolution_and_local_search_find_a_true_front(seed: int) -> None:
    """With fewer predictions than the space has members, so that nothing is enumerated."""
    space = plain_space("middle", {f"gene{i}": range(3) for i in range(10)})  # 59,049
    score = Tabled(space, seed, pairs=0.05)
    truth = score(all_vectors(space))[0]
    corner = truth.max(axis=0)
    best = hypervolume(truth, corner)
    score.calls.clear()
    _, objectives = evolve(space, score, space.extremes(), 0, 6000)
    assert sum(map(len, score.calls)) <= 6000
    assert hypervolume(objectives, corner) > 0.998 * best


def test_members_of_the_front_are_not_dominated_by_anything_scored() -> None:
    score = Tabled(LARGE, 0, objectives=3, pairs=0.02)
    vectors, objectives = evolve(LARGE, score, LARGE.extremes(), 1, 4000)
    seen = np.concatenate(score.calls)
    points = score(seen)[0]
    assert {p.tobytes() for p in points[front(points)]} == {p.tobytes() for p in objectives}
    np.testing.assert_array_equal(score(vectors)[0], objectives)


def test_same_seed_same_front() -> None:
    score = Tabled(LARGE, 0, pairs=0.02)
    one, other, third = (evolve(LARGE, score, LARGE.extremes(), seed, 3000)[1] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, other)
    assert one.shape != third.shape or not np.array_equal(one, third)


def test_at_least_as_good_as_pymoo_at_equal_predictions() -> None:
    score = Tabled(LARGE, 2, pairs=0.02)
    corner = score(LARGE.sample(np.random.default_rng(0), 2000))[0].max(axis=0)
    volumes = {}
    for algorithm in ALGORITHMS:
        found = [evolve(LARGE, score, LARGE.extremes(), seed, 2000, algorithm)[1] for seed in range(2)]
        volumes[algorithm] = np.mean([hypervolume(f, corner) for f in found])
    assert volumes["archive"] == max(volumes.values())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bounds_and_canonical_vectors(algorithm: str) -> None:
    """Every algorithm keeps to the bounds, starts from outside of them, and returns canonical vectors."""
    space = get_space("mbv3-tiny")
    plain = Tabled(space, 3)

    def score(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
        objectives = plain(vectors)[0]
        return objectives, np.maximum(objectives[:, 1] / limit - 1, 0)

    drawn = plain(space.sample(np.random.default_rng(0), 4000))[0][:, 1]
    limit = float(np.quantile(drawn, 0.05))
    vectors, objectives = evolve(space, score, space.extremes()[1:], 0, 1500, algorithm)
    assert len(vectors)
    assert (objectives[:, 1] <= limit).all()
    np.testing.assert_array_equal(space.canonical(vectors), vectors)


def test_nothing_feasible_is_an_empty_front() -> None:
    def score(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((len(vectors), 2)), np.ones(len(vectors))

    for space in (GATED, LARGE):
        vectors, objectives = evolve(space, score, space.extremes(), 0, 2000)
        assert len(vectors) == len(objectives) == 0


# archive


@given(st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_archive_in_parts_equals_the_front_at_once(points: list[list[int]], chunk: int) -> None:
    objectives = np.array(points, dtype=float)
    vectors = np.arange(len(points), dtype=np.int64)[:, None]

    def score(rows: Vectors) -> tuple[np.ndarray, np.ndarray]:
        return objectives[rows[:, 0]], np.zeros(len(rows))

    archive = Archive(score, 1)
    for i in range(0, len(vectors), chunk):
        archive.add(vectors[i : i + chunk])
    assert archive.scored == len(points)
    expected = objectives[front(objectives)]
    np.testing.assert_array_equal(np.unique(archive.objectives, axis=0), np.unique(expected, axis=0))
    assert len(archive.objectives) == len(expected)
    assert (np.diff(archive.objectives[:, 0]) >= 0).all()


def test_archive_scores_next_to_nothing_twice_and_keeps_to_its_limit() -> None:
    """Its table of hashes may forget one in a few hundred."""
    score = Tabled(LARGE, 0)
    archive = Archive(score, len(LARGE.genes))
    rows = LARGE.sample(np.random.default_rng(0), 3000)
    archive.add(np.concatenate([rows, rows[:500]]))
    archive.add(rows[::-1])
    distinct = len(np.unique(rows, axis=0))
    assert archive.scored == sum(map(len, score.calls))
    assert distinct <= archive.scored <= 1.005 * distinct
    before = archive.scored
    archive.add(LARGE.sample(np.random.default_rng(1), 100), 7)
    assert archive.scored == before + 7


def test_feasible_rows_displace_the_least_infeasible() -> None:
    violation = np.array([0.9, 0.2, 0.5, 0.0, 0.1])
    archive = Archive(lambda v: (np.column_stack([v[:, 0], -v[:, 0]]).astype(float), violation[v[:, 0]]), 1)
    archive.add(np.array([[0], [1], [2]]))
    assert not archive.feasible
    assert archive.vectors[0, 0] == 1
    archive.add(np.array([[3]]))
    archive.add(np.array([[4]]))
    assert archive.feasible
    assert archive.vectors.tolist() == [[3]]


# additive starts and local search


@pytest.mark.parametrize("seed", range(3))
def test_sweep_is_exact_for_sums_behind_gates(seed: int) -> None:
    """Each weighting's best vector, against all 1,296 sums."""
    score = Tabled(GATED, seed)
    effects = [score.effect[g, :n] for g, n in enumerate(GATED.cardinality)]
    everything = all_vectors(GATED)
    weights = np.random.default_rng(seed).dirichlet(np.ones(2), size=25)
    found = sweep(GATED, effects, weights)
    np.testing.assert_array_equal(GATED.canonical(found), found)
    reached, best = score(found)[0], score(everything)[0]
    for weight, objectives in zip(weights, reached, strict=True):
        assert objectives @ weight == pytest.approx((best @ weight).min())


def test_additive_effects_explain_a_sum() -> None:
    score = Tabled(LARGE, 1)
    rows = LARGE.sample(np.random.default_rng(0), 3000)
    objectives = score(rows)[0]
    effects = additive_effects(LARGE, rows, objectives)
    summed = sum(effect[rows[:, g]] for g, effect in enumerate(effects))
    off = (summed - summed.mean(0)) - (objectives - objectives.mean(0))
    assert off.std() < 0.02 * objectives.std()


def test_weightings_count_the_violation_only_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    objectives = rng.random((50, 2))
    free = weightings(objectives, np.zeros(50), 9, rng)
    assert (free[:, 2] == 0).all()
    assert (np.diff(free[:, 1] / free[:, 0]) > 0).all()
    bound = weightings(objectives, rng.random(50), 9, rng)
    assert (bound[:, 2] > 0).sum() == 6


def test_one_exchange_gives_exactly_the_single_gene_changes() -> None:
    everything = list(GATED.enumerate())
    for architecture in everything[:: len(everything) // 12]:
        values = dict(architecture.genes)
        expected = set()
        for other in everything:
            ungated = [g for g in GATED.genes if g.name in dict(other.genes) and g.name in values]
            differing = [g for g in ungated if dict(other.genes)[g.name] != values[g.name]]
            appeared = [n for n, v in other.genes if n not in values and v != GATED.genes[GATED.index[n]].choices[0]]
            if len(differing) == 1 and not appeared:
                expected.add(other)
        found = one_exchange(GATED, GATED.encode(architecture)[None])
        assert {GATED.decode(v) for v in found} - {architecture} == expected


def test_improve_ends_in_a_local_optimum() -> None:
    score = Tabled(GATED, 4, pairs=0.5)
    archive = Archive(score, len(GATED.genes))
    archive.add(GATED.extremes())
    improve(GATED, archive, 100_000)
    beside = score(one_exchange(GATED, archive.vectors))[0]
    for point, member in itertools.product(beside, archive.objectives):
        assert not ((point <= member).all() and (point < member).any())


def test_mutants_differ_in_one_to_three_genes() -> None:

    before = np.random.default_rng(0).integers(0, 4, size=(2000, 30))
    after = before.copy()
    mutate(LARGE, np.random.default_rng(1), after)
    changed = (before != after).sum(axis=1)
    assert changed.max() <= 3
    assert (changed > 0).mean() > 0.98  # two changes may undo each other
    assert after.min() >= 0
    assert after.max() <= 3
    assert 0.5 < (np.abs(after - before)[before != after] == 1).mean() < 0.95
