"""Starts for evolution from an additive picture of the objectives.

Every objective is fitted by a sum over single choices. For a weighting of the objectives the best vector of such a sum
is found gene by gene, exactly: genes behind a gate are summed up for every choice of the gate. Sweeping the weighting
walks along the convex part of the front (Everett, Generalized Lagrange multiplier method, Operations Research 1963).
"""

from __future__ import annotations

import numpy as np

from search_spaces.genes import Floats, GeneSpace, Vectors


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
    """The best vector of the additive picture for each weighting ``[m, k]``, shape ``[m, genes]``."""
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
