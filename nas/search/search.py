"""The search: measure -> fit -> evolve -> choose -> measure, until the budget is spent.

A search is a function of its settings and of the journal: killed and started again, it walks the same path, finds
what it had measured in the journal, and goes on from there. So do several workers at once: each walks the whole path,
and each batch is measured by all of them. ``loop`` holds the steps; here they meet the supernet's journal, the splits
and the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.candidates.candidate import Candidate
from nas.events import Listener, Recalled
from nas.journal.journal import TEST, Journal
from nas.store.seeds import stream
from nas.tasks.score import Score
from predictors.accuracy.features import space_features
from predictors.accuracy.predictor import AccuracyPredictor
from search_spaces.genes import Vectors

from .baselines import BASELINES, Answer, Field, parse_baselines
from .config import SearchConfig
from .costs import CandidateCosts
from .fidelity import agreement, gain_over_random, predictor_report, ranking, rmse
from .loop import FIRST_DESIGNS, Loop, LoopSettings, first_designs
from .objectives import LATENCY_ON, Bounds
from .pareto import front, hypervolume
from .problem import Problem
from .session import Measure, Session

Floats = NDArray[np.float64]

_MARKS = 6
"""Points of the hypervolume's growth that a result names."""


def problem_of(costs: CandidateCosts, bounds: Bounds, objectives: Sequence[str]) -> Problem:
    """The search problem of a supernet on a target: the objectives' costs beside the error."""
    chosen = costs.indices(objectives)

    def assess(vectors: Vectors) -> tuple[Floats, Floats]:
        rows = costs.of(vectors)
        return rows[:, chosen], costs.violation(rows, bounds)

    return Problem(costs.space, assess, lambda vectors: space_features(costs.space, costs.tables, vectors))


def search(
    costs: CandidateCosts,
    config: SearchConfig,
    journal: Journal,
    measure: Measure,
    report: Listener,
    keep: Callable[[AccuracyPredictor], None] | None = None,
) -> dict[str, Any]:
    """Find the measured Pareto front of the error and the costs that are objectives.

    Args:
        config: checked, see :func:`nas.search.config.check_config`.
        measure: (candidate, split) to accuracy; called for what the journal does not hold, on the search split, and
            for each member of the front on the test split.
        report: called after every measurement.
        keep: called with the accuracy predictor that knows all measurements.

    Returns:
        The result as JSON-able data: front, baselines, fidelity of the predictor, budget. All of it but ``seconds`` is
        a function of the configuration and the journal.

    Raises:
        InfeasibleError: no candidate is within the bounds.
    """
    began = time.monotonic()
    session = Session(costs, config, journal, measure, report)
    config = session.config
    budget = config.measurements
    problem = problem_of(costs, config.bounds, session.objectives)
    smallest = costs.feasible_start(config.bounds)
    random = costs.sample(stream(config.seed, "search.random"), config.bounds, budget)
    spare = random if "random" in parse_baselines(config.compare) else random[:0]

    session.adopt(session.measure(_first_designs(session, problem, smallest), "first", budget, spare))
    reference = _reference(session, smallest)
    loop = Loop(problem, LoopSettings(config.seed, config.algorithm, config.predictor), reference)
    session.tell(loop)
    if config.prior:
        _report_known(session, reference)
    beforehand: dict[Candidate, float] = {}
    while True:
        step, left = len(session.new), budget - len(session.new)
        stopped = _stopped(config, loop, left, time.monotonic() - began)
        with session.stage("predictor and engine"):
            batch = smallest[None][:0] if stopped else loop.ask(min(config.batch, left))
            stopped = stopped or ("" if len(batch) else "every candidate is measured")
        stopped, batch = session.agree(stopped, batch)
        if stopped:
            break
        predicted = loop.predictor().mean_of(problem.features(batch))
        picked = session.measure(batch, "search", budget, spare, done=step)
        beforehand |= {c: float(p) for c, p in zip(picked, predicted, strict=True)}
        session.adopt(picked)
        session.tell(loop)

    predictor = loop.predictor()
    if keep is not None:
        keep(predictor)
    vectors, accuracy = session.measured(within_bounds=True)
    points = session.points(vectors, accuracy)
    order = sorted(np.flatnonzero(front(points)), key=lambda i: points[i, 1])
    winners = session.candidates(vectors[order])
    with session.stage("test", winners, TEST):
        tests = journal.measure_all(winners, lambda c: measure(c, TEST), "front", split=TEST)
    mean, std = predictor.predict(problem.features(vectors[order]))
    members = [
        _member(session, c, vectors[i], test, (float(m), float(s)))
        for c, i, test, m, s in zip(winners, order, tests, mean, std, strict=True)
    ]
    baselines, played = _baselines(session, problem, random, smallest, reference)
    fresh = [c for c in played.get("random", []) if c not in session.known]
    volumes = loop.volumes[len(loop.volumes) - len(session.new) :]
    return {
        "config": asdict(config),
        "complete": True,
        "target": {"name": costs.target.name, "latency": costs.target.labels_of(costs.candidates.menu)},
        "others": {t.name: t.labels_of(costs.candidates.menu) for t in costs.others},
        "objectives": ["accuracy", *session.objectives],
        "front": members,
        "measurements": {"new": len(session.new), "prior": len(session.known) - len(session.new)},
        "reference": dict(zip(("error", *session.objectives), reference.tolist(), strict=True)),
        "hypervolume": _relative_hv(points, reference),
        "measured": _rows(session, vectors, accuracy),
        "baselines": baselines,
        "extremes": _extremes(session),
        "stopped": stopped,
        "hypervolumes": {str(n): volumes[n - 1] for n in _marks(len(volumes))},
        "gain_over_random": gain_over_random(
            _cost_and_accuracy(session, winners), _cost_and_accuracy(session, played.get("random", []))
        ),
        "predictor": {
            "choice": loop.choice.describe(),
            **_fidelity(session, problem, predictor, fresh),
            "beforehand": _beforehand(session, beforehand),
            "front_beforehand": _beforehand(session, {c: beforehand[c] for c in winners if c in beforehand}),
        },
        "seconds": {stage: round(spent, 2) for stage, spent in session.stages.items()},
    }


def _stopped(config: SearchConfig, loop: Loop, left: int, spent: float) -> str:
    """Why a search ends here; empty: it does not."""
    if left <= 0:
        return "the budget of measurements is spent"
    if config.seconds is not None and spent > config.seconds:
        return f"{config.seconds:g} seconds are over"
    if loop.stalled(config.patience):
        return f"{config.patience} measurements let the hypervolume grow by less than 0.1 %"
    return ""


def _report_known(session: Session, reference: Floats) -> None:
    """Say what earlier measurements are worth for this search, before it adds its own."""
    points = session.points(*session.measured(within_bounds=True))
    session.report(Recalled(len(points), int(front(points).sum()), _relative_hv(points, reference)))


def _first_designs(session: Session, problem: Problem, smallest: Vectors) -> Vectors:
    """Smallest and largest feasible networks and random ones of all costs; fewer where much is known."""
    bounds, space = session.config.bounds, session.space
    rng = stream(session.config.seed, "search.first")
    feasible = np.concatenate([smallest[None], session.costs.sample(rng, bounds, 20)])
    rows = np.concatenate([smallest[None], first_designs(problem, session.config.seed, FIRST_DESIGNS, feasible)])
    if len(session.known) >= FIRST_DESIGNS:
        rows = rows[(rows == smallest).all(axis=1) | (rows == space.extremes()[1]).all(axis=1)]
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)][: min(FIRST_DESIGNS, session.config.measurements)]


def _reference(session: Session, smallest: Vectors) -> Floats:
    """Worst corner of the hypervolume, fixed once the first designs are measured: a tenth more error than the
    smallest network's, and the costs of the largest network or the bound where that is tighter."""
    worst = session.accuracy(session.candidates(smallest[None])[0])
    chosen = session.costs.indices(session.objectives)
    largest = session.costs.of(session.space.extremes()[1:])[0, chosen]
    limit = np.minimum(largest, session.costs.limits(session.config.bounds)[chosen])
    return np.array([1.1 * (1 - worst.value) + 1e-3, *(1.01 * limit)])


def _baselines(
    session: Session, problem: Problem, random: Vectors, smallest: Vectors, reference: Floats
) -> tuple[dict[str, Any], dict[str, list[Candidate]]]:
    """Measure what the search is compared with, each at as many measurements; figures and candidates by name."""
    figures, played = {}, {}
    field = Field(problem, random, smallest, len(session.new), session.config.seed)
    for name in parse_baselines(session.config.compare):
        chosen = session.candidates(BASELINES[name](field, _answer(session, name, field.count)))
        played[name] = chosen
        vectors, accuracy = _arrays(session, chosen)
        points = session.points(vectors, accuracy)
        figures[name] = {
            "measurements": len(chosen),
            "hypervolume": _relative_hv(points, reference),
            "hypervolumes": {str(n): _relative_hv(points[:n], reference) for n in _marks(len(points))},
            "measured": _rows(session, vectors, accuracy),
        }
    return figures, played


def _answer(session: Session, name: str, total: int) -> Answer:
    """Accuracies of the candidates that a baseline asks for."""
    done = 0

    def answer(vectors: Vectors) -> Floats:
        nonlocal done
        found = session.measure(vectors, name, total, done=done)
        done += len(found)
        return np.array([session.accuracy(c).value for c in found])

    return answer


def _relative_hv(points: Floats, reference: Floats) -> float:
    """Hypervolume as a share of the box between zero and the reference."""
    return hypervolume(points / reference, np.ones(len(reference)))


def _marks(count: int) -> list[int]:
    """Some numbers of measurements up to ``count``."""
    return [int(n) for n in np.unique(np.linspace(0, count, _MARKS + 1).round()) if n]


def _rows(session: Session, vectors: Vectors, accuracy: Floats) -> list[list[float]]:
    """Measured candidates, a row each: accuracy, then the costs that are objectives."""
    rows: list[list[float]] = np.column_stack([accuracy, session.chosen(vectors)]).tolist()
    return rows


def _arrays(session: Session, candidates: Sequence[Candidate]) -> tuple[Vectors, Floats]:
    vectors = session.costs.candidates.vectors(candidates)
    return vectors, np.array([session.accuracy(c).value for c in candidates])


def _cost_and_accuracy(session: Session, candidates: Sequence[Candidate]) -> Floats:
    """The first cost among the objectives and the accuracy, ``[n, 2]``."""
    if not candidates:
        return np.zeros((0, 2))
    vectors, accuracy = _arrays(session, candidates)
    return np.column_stack([session.chosen(vectors)[:, 0], accuracy])


def _extremes(session: Session) -> dict[str, Any]:
    """Accuracy and costs of the smallest and the largest network, where they were measured."""
    found = {}
    for name, vector in zip(("smallest", "largest"), session.space.extremes(), strict=True):
        known = session.known.get(session.candidates(vector[None])[0])
        if known is not None:
            row = session.chosen(vector[None])[0]
            figures = dict(zip(session.objectives, row.tolist(), strict=True))
            found[name] = {"accuracy": accuracy_dict(known), **figures}
    return found


def _fidelity(
    session: Session, problem: Problem, predictor: AccuracyPredictor, fresh: Sequence[Candidate]
) -> dict[str, Any]:
    """How the accuracy predictor does on candidates left out, and on random ones it has never seen."""
    vectors, accuracy = session.measured()
    found: dict[str, Any] = {"candidates": len(accuracy)}
    left_out = predictor_report(predictor.leave_one_out(), session.costs.column("macs", vectors), accuracy)
    found["leave_one_out"] = left_out["predictor"]
    found["log_macs"] = left_out["log_macs"]
    if len(fresh) > 1:
        vectors, actual = _arrays(session, fresh)
        predicted = predictor.mean_of(problem.features(vectors))
        found["random"] = {"candidates": len(fresh), **ranking(predicted, actual), "rmse": rmse(predicted, actual)}
        found["random_log_macs"] = ranking(session.costs.column("macs", vectors), actual)
    return found


def _beforehand(session: Session, predicted: dict[Candidate, float]) -> dict[str, Any]:
    """What was predicted of candidates before they were measured, against the measurements; ``pairs`` of the two."""
    actual = np.array([session.accuracy(c).value for c in predicted])
    guesses = np.array(list(predicted.values()))
    return agreement(guesses, actual) | {"pairs": np.column_stack([guesses, actual]).tolist()}


def _member(
    session: Session, candidate: Candidate, vector: Vectors, test: Score, predicted: tuple[float, float]
) -> dict[str, Any]:
    """One line of the front."""
    costs, others = session.costs, session.costs.others
    elsewhere = {t.name: float(costs.column(LATENCY_ON + t.name, vector[None])[0]) for t in others}
    return {
        "id": candidate.id,
        "architecture": candidate.architecture.to_dict(),
        "precision": candidate.precision,
        "accuracy": accuracy_dict(session.accuracy(candidate)),
        "test": accuracy_dict(test),
        "predicted_accuracy": {"mean": predicted[0], "std": predicted[1]},
        "latency_ms": float(costs.column("latency", vector[None])[0]),
        "latency_elsewhere_ms": elsewhere,
        **asdict(costs.exact(vector)),
    }


def accuracy_dict(found: Score) -> dict[str, Any]:
    """Accuracy with its 95 % interval as JSON-able data."""
    low, high = found.interval()
    return {"value": found.value, "low": low, "high": high, **found.record()}
