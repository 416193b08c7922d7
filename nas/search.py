"""The search: measure -> fit -> evolve -> choose -> measure, until the budget is spent.

The plan of a search is a pure function of its seed and of the journal: killed and started again, it walks the same
path, finds what it had measured in the journal, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from predictors.accuracy import GroupGP, fit, gene_features, physics_features
from search_spaces.errors import UsageError
from search_spaces.space import Vectors

from .calibrate import CALIBRATION_IMAGES
from .evaluate import Accuracy
from .evolve import evolve
from .files import read_json, write_json
from .journal import Journal
from .measure import Candidate
from .objectives import Bounds, CandidateCosts
from .pareto import best_batch, front, hypervolume

Floats = NDArray[np.float64]
Measure = Callable[[Candidate, str], Accuracy]
Report = Callable[[dict[str, Any]], None]

FIRST_DESIGNS = 12
BATCH = 6


@dataclass(frozen=True)
class SearchConfig:
    """What decides a search's plan.

    Attributes:
        target, precision: what candidates are scored for.
        measurements: how many subnets this search may measure, its random baseline not counted.
        bounds: constraints.
        seed: of everything random.
        calibration_images: what a candidate is calibrated on before it is measured.
        prior: measurements in the journal when the search first began (set by :func:`resume_point`).
    """

    target: str
    precision: str
    measurements: int = 40
    bounds: Bounds = field(default_factory=Bounds)
    seed: int = 0
    calibration_images: int = CALIBRATION_IMAGES
    prior: int = 0


def resume_point(path: Path, config: SearchConfig, journal: Journal) -> SearchConfig:
    """The configuration with its ``prior``, taken over from ``path`` where a search of the same settings was begun.

    Raises:
        UsageError: the budget is too small to fit a predictor.
    """
    if config.measurements < 4:
        raise UsageError(f"--measurements {config.measurements} is too few; a search needs at least 4")
    if path.exists():
        begun = {"calibration_images": CALIBRATION_IMAGES} | read_json(path)
        same = replace(config, prior=begun.get("prior", 0))
        if begun == asdict(same):
            return same
    config = replace(config, prior=len(journal))
    write_json(path, asdict(config))
    return config


class _Session:
    """The measurements one search has made so far, in its own order."""

    def __init__(self, costs: CandidateCosts, config: SearchConfig, journal: Journal, measure: Measure, report: Report):
        self.costs, self.config, self.journal, self.measure_one, self.report = costs, config, journal, measure, report
        self.space = costs.space
        known = journal.items()[: config.prior]
        self.known = {c: a for c, a in known if c.precision == config.precision}
        self.new: list[Candidate] = []

    def measured(self, within_bounds: bool = False) -> tuple[Vectors, Floats]:
        """Vectors and accuracies of all measurements this search may use, or of the feasible ones among them.

        Measurements from before may lie outside the bounds: they teach the predictor, but none may stand on the front
        or dominate one that does.
        """
        vectors = self.space.encode_many([c.architecture for c in self.known])
        accuracy = np.array([a.value for a in self.known.values()])
        if not within_bounds:
            return vectors, accuracy
        feasible = self.costs.violation(self.costs.of(vectors), self.config.bounds) <= 0
        return vectors[feasible], accuracy[feasible]

    def measure(self, vectors: Vectors, origin: str, total: int) -> list[Candidate]:
        """Measure candidates (or recall them from the journal); on disk one by one."""
        candidates = [Candidate(self.space.decode(v), self.config.precision) for v in vectors]
        for i, candidate in enumerate(candidates, start=1):
            found = self.journal.recall(candidate, lambda c: self.measure_one(c, "search"), origin)
            self.report({"origin": origin, "measured": len(self.new) + i, "of": total, "accuracy": found.value})
        return candidates

    def adopt(self, candidates: Sequence[Candidate]) -> None:
        self.new += [c for c in candidates if c not in self.known]
        self.known |= {c: self.accuracy(c) for c in candidates}

    def accuracy(self, candidate: Candidate) -> Accuracy:
        found = self.journal.get(candidate)
        assert found is not None
        return found

    def fit(self) -> GroupGP:
        vectors, accuracy = self.measured()
        noise = np.mean([a.standard_error for a in self.known.values()])
        features = physics_features(self.costs.tables.features(vectors))
        return fit(gene_features(self.space, vectors), features, accuracy, float(noise))

    def predict(self, gp: GroupGP, vectors: Vectors) -> tuple[Floats, Floats]:
        return gp.predict(gene_features(self.space, vectors), physics_features(self.costs.tables.features(vectors)))


def search(
    costs: CandidateCosts,
    config: SearchConfig,
    journal: Journal,
    measure: Measure,
    report: Report,
) -> dict[str, Any]:
    """Find the measured Pareto front of (error, latency, size).

    Args:
        measure: (candidate, split) to accuracy; called for what the journal does not hold, and once for each
            member of the front on ``test``.
        report: called after every measurement.

    Returns:
        The result as JSON-able data: front, baseline, fidelity of the predictor, budget.

    Raises:
        InfeasibleError: no candidate is within the bounds.
    """
    session = _Session(costs, config, journal, measure, report)
    space, bounds, budget = costs.space, config.bounds, config.measurements
    smallest = costs.feasible_start(bounds)
    rng = np.random.default_rng([config.seed, 3])
    baseline = costs.sample(rng, bounds, budget)

    session.adopt(session.measure(_first_designs(session, smallest, baseline), "first", budget))
    reference = _reference(session, smallest)
    unseen: list[tuple[float, float]] = []
    while (left := budget - len(session.new)) > 0:
        gp = session.fit()
        batch = _choose(session, gp, reference, min(BATCH, left))
        if not len(batch):
            break  # every candidate of the space is measured
        predicted = session.predict(gp, batch)[0]
        picked = session.measure(batch, "search", budget)
        unseen += [(float(p), session.accuracy(c).value) for p, c in zip(predicted, picked, strict=True)]
        session.adopt(picked)

    gp = session.fit()
    vectors, accuracy = session.measured(within_bounds=True)
    points = _points(costs, vectors, accuracy)
    order = sorted(np.flatnonzero(front(points)), key=lambda i: points[i, 1])
    winners = [Candidate(space.decode(vectors[i]), config.precision) for i in order]
    members = [_member(session, gp, c, vectors[i], measure(c, "test")) for c, i in zip(winners, order, strict=True)]

    random = session.measure(baseline[: len(session.new)], "random", budget)
    fresh = [c for c in random if c not in session.known]
    return {
        "config": asdict(config),
        "complete": True,
        "target": {"name": costs.target.name, "latency": costs.target.label(config.precision)},
        "front": members,
        "measurements": {
            "new": len(session.new),
            "prior": len(session.known) - len(session.new),
            "random": len(random),
        },
        "reference": dict(zip(("error", "latency_ms", "size_bytes"), reference.tolist(), strict=True)),
        "hypervolume": _relative_hv(points, reference),
        "random_hypervolume": _relative_hv(_points(costs, *_arrays(session, random)), reference),
        "predictor": _fidelity(session, gp, unseen, fresh),
    }


def _first_designs(session: _Session, smallest: Vectors, baseline: Vectors) -> Vectors:
    """Smallest and largest feasible networks and the first of the random baseline; fewer where much is known."""
    largest = session.space.extremes()[1]
    extremes = [smallest]
    if session.costs.violation(session.costs.of(largest[None]), session.config.bounds)[0] <= 0:
        extremes.append(largest)
    wanted = FIRST_DESIGNS if len(session.known) < FIRST_DESIGNS else len(extremes)
    rows = np.concatenate([np.stack(extremes), baseline])
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)][: min(wanted, session.config.measurements)]


def _reference(session: _Session, smallest: Vectors) -> Floats:
    """Worst corner of the hypervolume, fixed once the first designs are measured: a tenth more error than the
    smallest network's, and the costs of the largest network or the bound where that is tighter."""
    worst = session.journal.get(Candidate(session.space.decode(smallest), session.config.precision))
    assert worst is not None
    largest = session.costs.of(session.space.extremes()[1:])[0]
    limit = np.minimum(largest, session.config.bounds.as_row())
    return np.array([1.1 * (1 - worst.value) + 1e-3, 1.01 * limit[0], 1.01 * limit[1]])


def _points(costs: CandidateCosts, vectors: Vectors, accuracy: Floats) -> Floats:
    """Objectives to minimise: error, latency in ms, size in bytes."""
    return np.column_stack([1 - accuracy, costs.of(vectors)[:, :2]])


def _relative_hv(points: Floats, reference: Floats) -> float:
    """Hypervolume as a share of the box between zero and the reference."""
    return hypervolume(points / reference, np.ones(len(reference)))


def _choose(session: _Session, gp: GroupGP, reference: Floats, size: int) -> Vectors:
    """The batch that promises most hypervolume, optimistic by half a standard deviation."""
    costs, space, bounds = session.costs, session.space, session.config.bounds

    def score(vectors: Vectors) -> tuple[Floats, Floats]:
        mean, std = session.predict(gp, vectors)
        exact = costs.of(vectors)
        return np.column_stack([1 - mean - 0.5 * std, exact[:, :2]]) / reference, costs.violation(exact, bounds)

    done, accuracy = session.measured(within_bounds=True)
    measured = _points(costs, done, accuracy) / reference
    seed = int(np.random.SeedSequence([session.config.seed, 4, len(session.new)]).generate_state(1)[0])
    pool, _ = evolve(space, score, done[front(measured)], seed)
    rng = np.random.default_rng(seed)
    near = space.mutate(rng, np.repeat(pool, 4, axis=0), 1.0 / len(space.genes)) if len(pool) else pool
    spare = costs.sample(rng, bounds, 4 * size)
    known = {row.tobytes() for row in session.measured()[0]}
    rows = list({r.tobytes(): r for r in np.concatenate([pool, near, spare]) if r.tobytes() not in known}.values())
    if not rows:
        return np.zeros((0, len(space.genes)), dtype=np.int64)
    pool = np.stack(rows)
    objectives, violation = score(pool)
    pool, objectives = pool[violation <= 0], objectives[violation <= 0]
    chosen = best_batch(objectives, measured, np.ones(objectives.shape[1]), size)
    if len(chosen) < size and len(pool):  # nothing promises more: learn where least is known
        std = session.predict(gp, pool)[1]
        chosen += [int(i) for i in np.argsort(-std) if i not in chosen][: size - len(chosen)]
    return pool[chosen]


def _arrays(session: _Session, candidates: Sequence[Candidate]) -> tuple[Vectors, Floats]:
    vectors = session.space.encode_many([c.architecture for c in candidates])
    return vectors, np.array([session.accuracy(c).value for c in candidates])


def _fidelity(
    session: _Session, gp: GroupGP, unseen: list[tuple[float, float]], fresh: Sequence[Candidate]
) -> dict[str, Any]:
    """Rank correlation and error of the accuracy predictor on candidates it had not seen."""
    _, accuracy = session.measured()
    found: dict[str, Any] = {"leave_one_out_tau": _tau(gp.leave_one_out(), accuracy), "candidates": len(accuracy)}
    if unseen:
        found["picked_tau"] = _tau(*np.array(unseen).T)
    if len(fresh) > 1:
        vectors, actual = _arrays(session, fresh)
        predicted = session.predict(gp, vectors)[0]
        found |= {
            "random_tau": _tau(predicted, actual),
            "random_rmse": float(np.sqrt(np.mean((predicted - actual) ** 2))),
            "random_candidates": len(fresh),
            "log_macs_tau": _tau(session.costs.of(vectors)[:, 2], actual),
        }
    return found


def _tau(a: Floats, b: Floats) -> float | None:
    value = float(kendalltau(a, b).statistic)
    return None if np.isnan(value) else value


def _member(session: _Session, gp: GroupGP, candidate: Candidate, vector: Vectors, test: Accuracy) -> dict[str, Any]:
    """One line of the front."""
    measured = session.accuracy(candidate)
    mean, std = session.predict(gp, vector[None])
    return {
        "id": candidate.id,
        "architecture": candidate.architecture.to_dict(),
        "precision": candidate.precision,
        "accuracy": accuracy_dict(measured),
        "test": accuracy_dict(test),
        "predicted_accuracy": {"mean": float(mean[0]), "std": float(std[0])},
        "latency_ms": float(session.costs.of(vector[None])[0, 0]),
        **asdict(session.costs.exact(vector)),
    }


def accuracy_dict(found: Accuracy) -> dict[str, Any]:
    """Accuracy with its 95 % interval as JSON-able data."""
    low, high = found.interval()
    return {"value": found.value, "low": low, "high": high, "correct": found.correct, "images": found.images}
