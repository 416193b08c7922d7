"""Evolution on predictions: the best candidates by predicted objectives, over integer genes.

Where a space is small, all of it is scored. Otherwise a vectorised loop works on the archive of everything that is not
dominated: starts from an additive picture of the objectives and from what the caller knows, children by uniform
crossover of neighbours on the front and by resets or single steps of few genes, and at the end a one-exchange local
search. Polynomial mutation and rounding would change next to nothing on genes with a handful of choices, and a
population without an archive loses good points.

``nsga2`` is pymoo's, for comparison (:mod:`nas.search.evolution.nsga2`).
"""

from __future__ import annotations

import numpy as np

from nas.store.seeds import stream
from search_spaces.genes import Floats, GeneSpace, Vectors, all_vectors

from .archive import Archive, Score

EVALUATIONS = 20_000

_ENUMERATE = 1_000_000
_CHUNK = 20_000
_CHILDREN = 1000
_PICTURE, _WEIGHTINGS = 1000, 200


def evolve(
    space: GeneSpace,
    score: Score,
    seeds: Vectors,
    seed: int,
    evaluations: int = EVALUATIONS,
    algorithm: str = "archive",
    polish: bool = False,
) -> tuple[Vectors, Floats]:
    """Pareto-optimal vectors by predicted objectives among everything scored, and their objectives.

    Args:
        score: vectors ``[n, genes]`` to objectives ``[n, k]`` (minimised) and constraint violations ``[n]`` (0: fine).
        seeds: vectors to start from, best first.
        evaluations: how many vectors may be scored; spaces of at most that many are enumerated.
        polish: continue with the one-exchange local search until nothing gains, however many vectors that takes, and
            enumerate spaces of up to a million.
    """
    archive = Archive(score, len(space.genes))
    if algorithm == "archive" and space.size <= (_ENUMERATE if polish else evaluations):
        everything = all_vectors(space)
        for i in range(0, len(everything), _CHUNK):
            archive.add(everything[i : i + _CHUNK])
    elif algorithm == "archive":
        _evolve(space, archive, space.canonical(seeds), stream(seed, "search.evolution"), evaluations)
        if polish:
            improve(space, archive, 50 * evaluations)
    else:
        from .nsga2 import run_nsga2

        run_nsga2(space, archive, space.canonical(seeds), seed, evaluations)
    if not archive.feasible:
        return archive.vectors[:0], archive.objectives[:0]
    return archive.vectors, archive.objectives


def _evolve(space: GeneSpace, archive: Archive, seeds: Vectors, rng: np.random.Generator, evaluations: int) -> None:
    archive.add(np.concatenate([seeds, space.extremes()]))
    drawn = space.sample(rng, min(_PICTURE, evaluations // 5))
    seen = [(drawn, *archive.score(drawn))]
    for _ in range(2):  # the second picture is of where the first one led
        vectors, objectives, violation = (np.concatenate(part) for part in zip(*seen, strict=True))
        effects = additive_effects(space, vectors, np.column_stack([objectives, violation]))
        archive.add(sweep(space, effects, weightings(objectives, violation, _WEIGHTINGS, rng)))
        near = _children(space, archive, rng, len(drawn) // 2)
        seen.append((near, *archive.score(near)))
    reserve = evaluations // 4
    while archive.scored < evaluations - reserve:
        before = archive.scored
        archive.add(_children(space, archive, rng, _CHILDREN), evaluations - reserve - before)
        if archive.scored == before:
            break
    improve(space, archive, evaluations - archive.scored)


def _children(space: GeneSpace, archive: Archive, rng: np.random.Generator, count: int) -> Vectors:
    """Canonical children of members of the front."""
    parents = archive.vectors
    n = len(parents)
    mothers = rng.integers(n, size=count)
    fathers = np.clip(mothers + rng.integers(-8, 9, size=count), 0, n - 1)  # the front is sorted: these are near
    mixed = rng.integers(0, 2, size=(count, parents.shape[1]), dtype=np.int8).astype(bool)
    mixed[: count // 2] = False  # half are mutants alone
    children = np.where(mixed, parents[fathers], parents[mothers])
    mutate(space, rng, children)
    return space.canonical(children)


def mutate(space: GeneSpace, rng: np.random.Generator, vectors: Vectors) -> None:
    """Change one to three genes of every row, in place: half by one step, half to any other choice."""
    movable = np.flatnonzero(space.cardinality > 1)
    rows = np.repeat(np.arange(len(vectors)), rng.integers(1, 4, size=len(vectors)))
    genes = movable[rng.integers(len(movable), size=len(rows))]
    top = space.cardinality[genes]
    old = vectors[rows, genes]
    jump = (old + rng.integers(1, top)) % top
    step = old + np.where(rng.random(len(rows)) < 0.5, 1, -1)
    step = np.where((step < 0) | (step >= top), jump, step)
    vectors[rows, genes] = np.where(rng.random(len(rows)) < 0.5, step, jump)


def one_exchange(space: GeneSpace, vectors: Vectors) -> Vectors:
    """All canonical vectors that differ from a row of ``vectors`` in one choice; may hold duplicates."""
    genes = np.repeat(np.arange(len(space.genes)), space.cardinality)
    choices = np.concatenate([np.arange(n) for n in space.cardinality])
    rows = np.repeat(vectors, len(genes), axis=0)
    moves = np.tile(np.arange(len(genes)), len(vectors))
    changed = rows[np.arange(len(rows)), genes[moves]] != choices[moves]
    rows, moves = rows[changed], moves[changed]
    rows[np.arange(len(rows)), genes[moves]] = choices[moves]
    return space.canonical(rows)


def improve(space: GeneSpace, archive: Archive, evaluations: int, chunk: int = 64) -> None:
    """Pareto local search (Paquete, Chiarandini and Stützle, 2004) on an archive: its members are walked around once
    each, new ones too, until all are or ``evaluations`` more vectors were scored."""
    walked: set[bytes] = set()
    limit = archive.scored + evaluations
    while archive.scored < limit:
        todo = [row for row in archive.vectors if row.tobytes() not in walked][:chunk]
        if not todo:
            return
        walked |= {row.tobytes() for row in todo}
        archive.add(one_exchange(space, np.stack(todo)), limit - archive.scored)


def additive_effects(space: GeneSpace, vectors: Vectors, objectives: Floats) -> list[Floats]:
    """Effect of every choice of every gene on the objectives, one ``[choices, k]`` a gene, by ridge regression."""
    active = space.active(vectors)
    columns = [
        ((vectors[:, g] == choice) & active[:, g]).astype(np.float64)
        for g, count in enumerate(space.cardinality)
        for choice in range(count)
    ]
    x = np.stack(columns, axis=1)
    centred = x - x.mean(0)
    target = objectives - objectives.mean(0)
    slope = np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]), centred.T @ target)
    return list(np.split(slope, np.cumsum(space.cardinality)[:-1]))


def sweep(space: GeneSpace, effects: list[Floats], weights: Floats) -> Vectors:
    """The best vector of the additive picture for each weighting ``[m, k]``, shape ``[m, genes]``.

    It is found gene by gene, exactly: genes behind a gate are summed up for every choice of the gate. The sweep walks
    along the convex part of the front (Everett, Generalized Lagrange multiplier method, Operations Research 1963).
    """
    vectors = np.zeros((len(weights), len(space.genes)), dtype=np.int64)
    gated: dict[int, list[tuple[int, int]]] = {}
    for column, gene in enumerate(space.genes):
        if gene.gate is not None:
            gate, minimum = space.gate_index(gene.gate)
            gated.setdefault(gate, []).append((column, minimum))
    values = [weights @ effect.T for effect in effects]  # [m, choices] a gene
    for column, value in enumerate(values):
        value = value.copy()
        for other, minimum in gated.get(column, []):
            value[:, minimum:] += values[other].min(axis=1, keepdims=True)
        vectors[:, column] = value.argmin(axis=1)
    return space.canonical(vectors)


def weightings(objectives: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Weightings ``[count, k + 1]`` of ``k`` objectives and of the violation of bounds, each scaled by its spread: even
    in angle for two objectives, else random; the violation counts nothing, as much, or ten times as much, in turn."""
    k = objectives.shape[1]
    if k == 2:
        angle = np.linspace(0.005, 0.995, count) * np.pi / 2
        mixed = np.column_stack([np.cos(angle), np.sin(angle)])
    else:
        mixed = rng.dirichlet(np.full(k, 0.7), size=count)
    strict = np.resize([0.0, 1.0, 10.0], count) if violation.any() else np.zeros(count)
    spread = np.maximum(np.append(objectives.std(0), violation.std()), 1e-12)
    weighted: Floats = np.column_stack([mixed, strict]) / spread
    return weighted
