"""The search: measure -> fit -> evolve -> choose -> measure, until the budget is spent.

A search is a function of its settings and of the journal: killed and started again, it walks the same path, finds
what it had measured in the journal, and continues from there. So do several workers at once: each walks the whole
path, and each batch is measured by all of them. ``loop`` holds the steps; here they meet the supernet's journal and the
splits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from nas.candidates.candidate import Candidate
from nas.events import Listener, Recalled
from nas.journal.journal import TEST, Journal
from nas.store.results import Member, Prediction, SearchResult
from nas.store.seeds import stream
from predictors.accuracy.features import space_features
from predictors.accuracy.predictor import AccuracyPredictor
from search_spaces.genes import Floats, Vectors

from .baselines import BASELINES, Answer, Field
from .bounds import Bounds
from .config import SearchConfig
from .costs import CandidateCosts
from .loop import FIRST_DESIGNS, Loop, LoopSettings, first_designs
from .outcome import judge_predictor, make_member, make_result, relative_volume
from .pareto import front
from .problem import Problem
from .session import Measure, Session


def problem_of(costs: CandidateCosts, bounds: Bounds, objectives: Sequence[str]) -> Problem:
    """The search problem of a supernet on a target: the objectives' costs beside the error."""
    chosen = costs.indices(objectives)

    def assess(vectors: Vectors) -> tuple[Floats, Floats]:
        rows = costs.of(vectors)
        return rows[:, chosen], costs.violation(rows, bounds)

    return Problem(costs.space, assess, lambda vectors: space_features(costs.space, costs.tables, vectors))


def search(
    costs: CandidateCosts, config: SearchConfig, journal: Journal, measure: Measure, report: Listener,
    keep: Callable[[AccuracyPredictor], None] | None = None,
) -> SearchResult:  # fmt: skip
    """Find the measured Pareto front of the error and the costs that are objectives.

    Args:
        config: checked by :func:`nas.search.config.check_config`.
        measure: (candidate, split) to accuracy; called for what the journal does not hold, on the search split, and
            for each member of the front on the test split.
        keep: called with the accuracy predictor that knows all measurements.

    The result is without the hash of the weights; all of it but ``seconds`` is a function of the configuration and the
    journal. Raises InfeasibleError where no candidate is within the bounds.
    """
    began = time.monotonic()
    session = Session(costs, config, journal, measure, report)
    config = session.config
    budget = config.measurements
    problem = problem_of(costs, config.bounds, session.objectives)
    smallest = costs.feasible_start(config.bounds)
    random = costs.sample(stream(config.seed, "search.random"), config.bounds, budget)
    spare = random if "random" in session.baselines else random[:0]

    session.adopt(session.measure(_first_designs(session, problem, smallest), "first", budget, spare))
    reference = _reference(session, smallest)
    loop = Loop(problem, LoopSettings(config.seed, config.algorithm, config.predictor), reference)
    session.tell(loop)
    if config.prior:
        points = session.points(*session.measured(within_bounds=True))
        session.report(Recalled(len(points), int(front(points).sum()), relative_volume(points, reference)))
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
    members = _measure_front(session, problem, predictor)
    baselines = _measure_baselines(session, problem, random, smallest)
    unseen = [c for c in baselines.get("random", []) if c not in session.known]
    winners = [Candidate(member.architecture, member.precision) for member in members]
    fidelity = judge_predictor(session, problem, predictor, loop.choice.describe(), beforehand, winners, unseen)
    volumes = loop.volumes[len(loop.volumes) - len(session.new) :]
    return make_result(session, members, reference, volumes, stopped, baselines, fidelity)


def _measure_front(session: Session, problem: Problem, predictor: AccuracyPredictor) -> list[Member]:
    """The measured front, from the lowest first cost, with its accuracies on the test split."""
    vectors, accuracy = session.measured(within_bounds=True)
    points = session.points(vectors, accuracy)
    order = sorted(np.flatnonzero(front(points)), key=lambda i: points[i, 1])
    winners = session.candidates(vectors[order])
    with session.stage("test", winners, TEST):
        tests = session.journal.measure_all(winners, lambda c: session.measure_one(c, TEST), "front", split=TEST)
    means, deviations = predictor.predict(problem.features(vectors[order]))
    return [
        make_member(session.costs, candidate, session.accuracy(candidate), test, Prediction(float(mean), float(std)))
        for candidate, test, mean, std in zip(winners, tests, means, deviations, strict=True)
    ]


def _measure_baselines(
    session: Session, problem: Problem, random: Vectors, smallest: Vectors
) -> dict[str, list[Candidate]]:
    """Measure what the search is compared with, each at as many measurements: candidates by the baseline's name."""
    field = Field(problem, random, smallest, len(session.new), session.config.seed)
    return {
        name: session.candidates(BASELINES[name](field, _answer(session, name, field.count)))
        for name in session.baselines
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


def _answer(session: Session, name: str, total: int) -> Answer:
    """Accuracies of the candidates that a baseline asks for."""
    done = 0

    def answer(vectors: Vectors) -> Floats:
        nonlocal done
        measured = session.measure(vectors, name, total, done=done)
        done += len(measured)
        return np.array([session.accuracy(c).value for c in measured])

    return answer
