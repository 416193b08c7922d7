"""Search problems with known answers: what each method of ``search.py`` is tried on.

- ``ofa``: OFA-MobileNetV3 (45 genes at 224 pixels). Accuracy from a model fitted to the shared 1,005 ImageNet
  measurements of its subnets, cost the Raspberry Pi 4 latency (fp32) of the ``cortex-a72`` target.
- ``nb201``: NAS-Bench-201 (15,625 networks), CIFAR-10 test accuracy after 200 epochs, measured Raspberry Pi 4 latency.
- ``demo``: a part of ``mbv3-tiny`` that can be enumerated, accuracies from a table that ``search.py table`` measures on
  a trained run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.validation import predict_vectors
from benchmarks.search.one_hot import one_hot_features
from benchmarks.support.data import data_file, read_table
from benchmarks.support.genes import plain_space
from nas.search.pareto import front, hypervolume
from nas.search.problem import Problem, problem
from nas.store.files import write_json
from predictors.accuracy.features import Features, space_features
from predictors.costs.network import COLUMN, total_macs
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.families.efficientnet import EfficientNetFamily
from search_spaces.genes import GeneSpace, Vectors, all_vectors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """A problem whose accuracies can be asked for as often as one likes.

    Attributes:
        problem: what a search sees.
        accuracy: vectors ``[n, genes]`` to accuracies ``[n]``, on [0, 1].
        reference: worst corner (error, cost) of the hypervolume.
        everything: all vectors of a space small enough; else None.
        note: one line about where the figures come from.
    """

    problem: Problem
    accuracy: Callable[[Vectors], Floats]
    reference: Floats
    everything: Vectors | None
    note: str

    @property
    def space(self) -> GeneSpace:
        return self.problem.space

    def points(self, vectors: Vectors) -> Floats:
        """True objectives (error, cost) ``[n, 2]`` in units of the reference."""
        return np.column_stack([1 - self.accuracy(vectors), self.problem.costs(vectors)]) / self.reference

    def volume(self, vectors: Vectors) -> float:
        """Hypervolume of the true objectives."""
        points = self.points(vectors)
        return hypervolume(points[front(points)], np.ones(points.shape[1]))


# Once-for-All


def ofa_space() -> SearchSpace:
    """``ofa-mbv3-w1.0`` at 224 pixels."""
    space = get_space("ofa-mbv3-w1.0")
    assert isinstance(space.family, EfficientNetFamily)
    return replace(space, name="ofa-mbv3-w1.0-224", family=replace(space.family, resolutions=(224,)))


@lru_cache
def ofa_measured() -> tuple[SearchSpace, CostTables, Vectors, Floats]:
    """The space, its cost tables, and the distinct measured subnets with their accuracies on [0, 1]."""
    space = ofa_space()
    rows = read_table(data_file("tabular/ofa_mbv3_w10_imagenet_dynast.csv"))
    vectors = space.encode_many([ofa_architecture(space, row) for row in rows])
    accuracy = np.array([float(row["top1"]) for row in rows]) / 100
    vectors, inverse = np.unique(vectors, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    return space, CostTables(space, Interface(3, 1000)), vectors, np.bincount(inverse, accuracy) / np.bincount(inverse)


def ofa_architecture(space: SearchSpace, row: dict[str, str]) -> Architecture:
    """Once-for-All counts four blocks a stage, present or not."""
    kernels, expands, depths = ([int(v) for v in row[key].split("-")] for key in ("ks", "e", "d"))
    values = {"resolution": int(row["resolution"])}
    for stage, depth in enumerate(depths):
        values[f"s{stage + 1}.depth"] = depth
        for block in range(depth):
            values[f"s{stage + 1}.b{block}.kernel"] = kernels[4 * stage + block]
            values[f"s{stage + 1}.b{block}.expand"] = expands[4 * stage + block]
    return Architecture(space.name, tuple((g.name, values[g.name]) for g in space.genes if g.name in values))


class _Surrogate:
    """Accuracy of any subnet, fitted to measured ones: ridge regression on one-hot genes and physics, and for what it
    leaves over the mean of a support-vector machine and three neural networks. None is a Gaussian process."""

    def __init__(self, space: SearchSpace, tables: CostTables, vectors: Vectors, accuracy: Floats) -> None:
        from sklearn.linear_model import RidgeCV
        from sklearn.neural_network import MLPRegressor
        from sklearn.svm import SVR

        self.space, self.tables = space, tables
        self.depths = sorted({space.index[g.gate[0]] for g in space.genes if g.gate is not None})
        physics = self._physics(vectors)
        self.mean, self.std = physics.mean(0), physics.std(0)
        straight, bent = self._seen(vectors)
        self.middle, self.spread = bent.mean(0), np.where(bent.std(0) < 1e-9, 1, bent.std(0))
        x = (bent - self.middle) / self.spread
        self.linear = RidgeCV(np.logspace(-2, 3, 12)).fit(x, accuracy)
        rest = accuracy - self.linear.predict(x)
        self.unit = rest.std()
        self.support = SVR(C=10, gamma=_GAMMA, epsilon=0.05).fit(bent, rest / self.unit)
        self.networks = [
            MLPRegressor(
                hidden_layer_sizes=(100,), activation="tanh", alpha=5, max_iter=200, random_state=k, solver="lbfgs"
            ).fit(straight, rest / self.unit)
            for k in range(3)
        ]

    def __call__(self, vectors: Vectors) -> Floats:
        parts = [self._some(vectors[i : i + 4096]) for i in range(0, len(vectors), 4096)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _some(self, vectors: Vectors) -> Floats:
        straight, bent = self._seen(vectors)
        sv, dual = self.support.support_vectors_, self.support.dual_coef_[0]
        squared = (bent**2).sum(1)[:, None] + (sv**2).sum(1) - 2 * bent @ sv.T
        bend = np.exp(-_GAMMA * squared) @ dual + self.support.intercept_[0]
        nets = np.mean([net.predict(straight) for net in self.networks], axis=0)
        line = (bent - self.middle) / self.spread @ self.linear.coef_ + self.linear.intercept_
        found: Floats = line + self.unit * (bend + nets) / 2
        return found

    def _physics(self, vectors: Vectors) -> Floats:
        features = self.tables.features(vectors)
        return np.log(np.column_stack([total_macs(features), features[:, COLUMN["params"]]]))

    def _seen(self, vectors: Vectors) -> tuple[Floats, Floats]:
        """Genes by index and by choice, both with depths and physics beside them."""
        active, top = self.space.active(vectors), np.maximum(self.space.cardinality - 1, 1)
        ordered = np.where(active, 2.0 * vectors / top - 1.0, 0.0)
        single = one_hot_features(self.space, vectors) * np.sqrt(len(self.space.genes))
        beside = np.column_stack([vectors[:, self.depths] - 1.0, 2 * (self._physics(vectors) - self.mean) / self.std])
        return np.column_stack([ordered, beside]), np.column_stack([single, beside])


_GAMMA = 0.01


def surrogate_error() -> float:
    """Root mean square error of the surrogate on subnets it has not seen (five folds), accuracy on [0, 1]."""
    space, tables, vectors, accuracy = ofa_measured()
    folds = np.array_split(np.random.default_rng(0).permutation(len(vectors)), 5)
    errors = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(vectors)), fold)
        errors.append(_Surrogate(space, tables, vectors[rest], accuracy[rest])(vectors[fold]) - accuracy[fold])
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def ofa(target: str = "cortex-a72") -> Known:
    """The Once-for-All problem for a target's latency (fp32)."""
    space, tables, vectors, accuracy = ofa_measured()
    latency = load_target(target).latency
    truth = _Surrogate(space, tables, vectors, accuracy)

    def costs(v: Vectors) -> Floats:
        return predict_vectors(latency, tables, v, "fp32")[:, None]

    known = problem(space, costs, lambda v: space_features(space, tables, v))
    ends = space.extremes()
    reference = np.array([1 - truth(ends[:1])[0], 1.01 * costs(ends[1:])[0, 0]])
    note = f"surrogate of {len(vectors)} measured subnets, latency of {target} (fp32)"
    return Known(known, truth, reference, None, note)


# NAS-Bench-201

OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def nb201() -> Known:
    """NAS-Bench-201: nothing is modelled, the front is known."""
    rows = read_table(data_file("tabular/natsbench_tss_acc_latency.csv.gz"))
    space = plain_space("nas-bench-201", {f"edge{a}{b}": range(len(OPERATIONS)) for a, b in EDGES})
    vectors = np.array([_operations(row["arch"]) for row in rows])
    place = np.full(len(OPERATIONS) ** len(EDGES), -1)
    place[_code(vectors)] = np.arange(len(rows))
    accuracy = np.array([float(row["cifar10_test_200ep"]) for row in rows]) / 100
    latency = np.array([float(row["lat_raspi4"]) for row in rows])
    features = _cell_features(space, vectors)

    def at(v: Vectors) -> NDArray[np.int64]:
        return place[_code(v)]

    known = problem(space, lambda v: latency[at(v), None], lambda v: features[at(v)])
    points = np.column_stack([1 - accuracy, latency])[front(np.column_stack([1 - accuracy, latency]))]
    learned = points[points[:, 0] < 0.5]  # the network without operators guesses
    reference = 1.1 * learned.max(axis=0)
    note = "CIFAR-10 test accuracy (200 epochs), measured Raspberry Pi 4 latency, 15,625 networks"
    return Known(known, lambda v: accuracy[at(v)], reference, vectors, note)


def _operations(cell: str) -> list[int]:
    return [OPERATIONS.index(part.split("~")[0]) for node in cell.split("+") for part in node.strip("|").split("|")]


def _code(vectors: Vectors) -> NDArray[np.int64]:
    code: NDArray[np.int64] = vectors @ len(OPERATIONS) ** np.arange(len(EDGES))
    return code


def _cell_features(space: GeneSpace, vectors: Vectors) -> Features:
    """What a predictor sees: one-hot operators, those of dead edges masked (an edge is dead where nothing
    comes in or nothing leaves it), and of the cell log MACs, log parameters and its longest chain of convolutions."""
    there = vectors > 0
    reached = np.zeros((len(vectors), 4), dtype=bool)
    leads = np.zeros((len(vectors), 4), dtype=bool)
    reached[:, 0] = leads[:, 3] = True
    for e, (a, b) in enumerate(EDGES):
        reached[:, b] |= reached[:, a] & there[:, e]
    for e in reversed(range(len(EDGES))):
        a, b = EDGES[e]
        leads[:, a] |= leads[:, b] & there[:, e]
    alive = np.stack([there[:, e] & reached[:, a] & leads[:, b] for e, (a, b) in enumerate(EDGES)], axis=1)
    chain = np.zeros((len(vectors), 4))
    for e, (a, b) in enumerate(EDGES):
        length = chain[:, a] + (vectors[:, e] >= 3)
        chain[:, b] = np.where(alive[:, e], np.maximum(chain[:, b], length), chain[:, b])
    three, one = ((alive & (vectors == op)).sum(1) for op in (4, 3))
    # 5 cells a stage, 16, 32 and 64 channels at 32, 16 and 8 pixels: every stage has the same MACs. Stem, two residual
    # blocks between the stages (27 and 18 kernels' worth of 16 and 32 channels) and classifier cost the rest.
    unit = 16 * 16 * 32 * 32
    macs = 7.78e6 + 15 * unit * (9 * three + one)
    params = 73_306 + 5 * (16**2 + 32**2 + 64**2) * (9 * three + one)
    genes = one_hot_features(space, np.where(alive, vectors, 0))
    return Features(genes, np.column_stack([np.log(macs), np.log(params), chain[:, 3]]))


# the demo's supernet

DEMO_GENES = ("s1.b0.expand", *(f"s{stage}.{gene}" for stage in (2, 3) for gene in ("width", "depth", "b0.expand")))
"""What varies; the first stage is narrow and shallow, and all other genes have their largest choice."""


def demo_vectors() -> tuple[SearchSpace, GeneSpace, Vectors, Vectors]:
    """``mbv3-tiny`` and its part that can be enumerated, and all vectors ``[432, genes]`` in both."""
    whole = get_space("mbv3-tiny")
    part = plain_space("mbv3-tiny-part", {name: whole.genes[whole.index[name]].choices for name in DEMO_GENES})
    inside = all_vectors(part)
    vectors = np.repeat(whole.extremes()[1:], len(inside), axis=0)
    vectors[:, [whole.index["s1.width"], whole.index["s1.depth"]]] = 0
    vectors[:, [whole.index[name] for name in DEMO_GENES]] = inside
    return whole, part, whole.canonical(vectors), inside


def measure_demo(run: Path, out: Path) -> None:
    """Measure every candidate of the demo's part on a trained run (fp32), into a JSON file; resumes.

    On the search split and the test split together: with one alone, noise decides which of near equals is on the front.
    """
    from nas.candidates.candidate import Candidate
    from nas.candidates.ship import EVALUATION_BATCH, ship
    from nas.data.batches import eval_batches
    from nas.store.run import Run
    from nas.workflows.trained import open_trained

    whole, _, vectors, _ = demo_vectors()
    trained = open_trained(Run(run))
    if trained.space.name != whole.name:
        raise SystemExit(f"{run} is a supernet of {trained.space.name}, not {whole.name}")
    found: list[float] = json.loads(out.read_text()) if out.exists() else []
    batches: list[Any] = []
    for vector in vectors[len(found) :]:
        candidate = Candidate(whole.decode(vector), "fp32")
        if not batches:
            size = candidate.architecture.resolution
            parts = [eval_batches(trained.dataset, split, size, EVALUATION_BATCH) for split in ("search", "test")]
            batches = list(itertools.chain(*parts))
        model = ship(trained.net, trained.dataset, candidate, trained.calibration).run
        found.append(trained.dataset.task.score(model, iter(batches), "cpu").value)
        if len(found) % 48 == 0 or len(found) == len(vectors):
            write_json(out, found)
            print(f"{len(found)} of {len(vectors)}", flush=True)


def demo(table: Path) -> Known:
    """The demo's part, its accuracies from :func:`measure_demo`, Raspberry Pi 4 latency at fp32."""
    if not table.exists():
        raise SystemExit(f"{table} is not here; measure it: python -m benchmarks.search.search table --run runs/demo")
    whole, part, vectors, inside = demo_vectors()
    accuracy = np.array(json.loads(table.read_text()))
    tables = CostTables(whole, Interface(1, 10))
    latency = predict_vectors(load_target("cortex-a72").latency, tables, vectors, "fp32")
    features = space_features(whole, tables, vectors)
    place = {row.tobytes(): i for i, row in enumerate(inside)}

    def at(v: Vectors) -> NDArray[np.int64]:
        return np.array([place[row.tobytes()] for row in v], dtype=np.int64)

    known = problem(part, lambda v: latency[at(v), None], lambda v: features[at(v)])
    reference = np.array([1 - accuracy[latency.argmin()], 1.01 * latency.max()])
    note = "432 subnets of the demo's supernet measured (fp32, 5,000 images), latency of cortex-a72 (fp32)"
    return Known(known, lambda v: accuracy[at(v)], reference, inside, note)
