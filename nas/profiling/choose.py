"""Which networks of a space to measure, so that few tell most about all the others.

Before anything is measured, what is not known about a device is put into a Gaussian prior: each term of the additive
model may be off by some of what it contributes on average, and each operator by four tenths together with operators of
similar shape, and by one tenth all by itself. That makes the latencies of any set of networks jointly Gaussian, and the
variance that is left after measuring some of them depends on which, not on what comes out. Networks are taken one by
one, each time the one that leaves the least variance over a random population (greedy A-optimal design; Krause, Singh
and Guestrin, Near-optimal sensor placements in Gaussian processes, JMLR 2008, for the greedy approach).
"""

from __future__ import annotations

import numpy as np

from nas.store.seeds import stream
from predictors.costs.tables import CostTables, operator_tables
from predictors.latency.additive import design
from predictors.latency.operator_table import kernel, log_features
from predictors.targets.target import load_target
from search_spaces.genes import Floats, Vectors

POPULATION = 500
_TERM, _NOISE = 0.3, 0.01  # relative standard deviations: of a term of the model, and of a measurement
_OPERATOR = {0.1: 0.1, 4.0: 0.4}  # of operators: alone, and those of similar shape; widths in logarithms of features
_PRIOR_TARGET = "host"  # whose constants say how a network's time divides into operators


def choose(tables: CostTables, n: int, precision: str, seed: int) -> Vectors:
    """``n`` networks to measure, ``[n, genes]``: the smallest, the largest, then the most telling ones.

    Args:
        n: at least 2; fewer are returned where the space has fewer.
        precision: whose bytes count; the choice for int8 serves fp32 nearly as well, and the reverse.
        seed: of the population chosen from.
    """
    space = tables.space
    drawn = space.sample(stream(seed, "profile.fit"), POPULATION)
    _, first = np.unique(np.concatenate([space.extremes(), drawn]), axis=0, return_index=True)
    population = np.concatenate([space.extremes(), drawn])[np.sort(first)]
    return population[greedy(prior(tables, population, precision), min(n, len(population)), min(2, len(population)))]


def prior(tables: CostTables, population: Vectors, precision: str) -> Floats:
    """Covariance ``[n, n]`` of relative latencies before anything is measured."""
    device = load_target(_PRIOR_TARGET).latency
    known = operator_tables(tables.space, tables.interface)
    milliseconds = device.operators(known.rows, precision)
    counts = operator_counts(tables, population)
    total = counts @ milliseconds + device.fixed(precision)
    terms = design(tables.features(population), precision) / total[:, None]
    mean = np.abs(terms).mean(axis=0)
    terms = terms[:, mean > 1e-9 * mean.max()] / mean[mean > 1e-9 * mean.max()]
    points = log_features(known.rows)
    similar = np.zeros((len(points), len(points)))
    for width, deviation in _OPERATOR.items():
        similar += deviation**2 * kernel(points, points, width)
    shares = counts * milliseconds / total[:, None]
    covariance: Floats = _TERM**2 * terms @ terms.T + shares @ similar @ shares.T
    return covariance


def operator_counts(tables: CostTables, vectors: Vectors) -> Floats:
    """How often each network runs each distinct operator, ``[n, operators]``; columns as ``OperatorTables.rows``."""
    known = operator_tables(tables.space, tables.interface)
    counts = []
    for numbers in known.numbers:
        table = np.zeros((len(numbers), len(known.rows) + 1))
        np.add.at(table, (np.arange(len(numbers))[:, None], numbers), 1)
        counts.append(table[:, 1:])  # number 0 stands for no operator
    return tables.lookup(counts, vectors)


def greedy(covariance: Floats, n: int, given: int) -> list[int]:
    """Indices of ``n`` networks of a population of covariance ``[population, population]``, the first ``given`` of
    them taken beforehand."""
    left = covariance.copy()
    chosen: list[int] = []
    for step in range(n):
        gain = (left**2).sum(axis=0) / (np.diag(left) + _NOISE**2)
        gain[chosen] = -np.inf
        best = step if step < given else int(np.argmax(gain))
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + _NOISE**2)
    return chosen
