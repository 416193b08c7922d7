"""What a search found, as the record that ``search-<target>.json`` keeps, and figures that say how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from scipy.stats import kendalltau

from nas.candidates.candidate import Candidate
from nas.store.results import (
    AccuracyRecord,
    Baseline,
    Extreme,
    Fidelity,
    Foresight,
    Measurements,
    Member,
    Prediction,
    Ranking,
    Rows,
    SearchResult,
    SearchTarget,
)
from nas.tasks.task import Score
from predictors.accuracy.predictor import AccuracyPredictor
from search_spaces.genes import Floats, Vectors
from search_spaces.schema import convert

from .costs import CandidateCosts
from .objectives import LATENCY_ON
from .pareto import hypervolume
from .problem import Problem
from .session import Session

_MARKS = 6
"""Points of the hypervolume's growth that a result names."""
_BEST = 0.3
"""Share of the candidates that count as the best."""


def record_accuracy(score: Score) -> AccuracyRecord:
    """A score with its 95 % interval."""
    low, high = score.interval()
    return convert({"value": score.value, "low": low, "high": high, **score.record()}, AccuracyRecord)


def make_member(
    costs: CandidateCosts, candidate: Candidate, accuracy: Score, test: Score, predicted: Prediction | None = None
) -> Member:
    """A measured candidate with its costs and its accuracies on the search split and the test split; ``predicted`` is
    None where there was no search."""
    vector = costs.candidates.vectors([candidate])
    (extent,) = costs.extents(vector)[costs.target.name]
    outside = costs.target.left_out(candidate.policy.precisions, extent)
    elsewhere = {t.name: float(costs.column(LATENCY_ON + t.name, vector)[0]) for t in costs.others}
    return Member(
        id=candidate.id, architecture=candidate.architecture, precision=candidate.precision,
        accuracy=record_accuracy(accuracy), test=record_accuracy(test), predicted_accuracy=predicted,
        latency_ms=float(costs.column("latency", vector)[0]),
        latency_elsewhere_ms=elsewhere if elsewhere or predicted is not None else None,
        **asdict(costs.exact(vector[0])), latency_outside=outside or None,
    )  # fmt: skip


def make_result(
    session: Session,
    members: Sequence[Member],
    reference: Floats,
    volumes: Sequence[float],
    stopped: str,
    baselines: Mapping[str, Sequence[Candidate]],
    predictor: Fidelity,
) -> SearchResult:
    """The result of a search that has ended: the members of its front stand from the lowest first cost, and ``volumes``
    are the hypervolume after each of its measurements."""
    costs, menu = session.costs, session.costs.candidates.menu
    vectors, accuracy = session.measured(within_bounds=True)
    winners = [Candidate(member.architecture, member.precision) for member in members]
    extents = costs.extents(costs.candidates.vectors(winners))
    return SearchResult(
        config=asdict(session.config),
        complete=True,
        target=SearchTarget(costs.target.name, costs.target.label_of_all(menu, extents[costs.target.name])),
        others={target.name: target.label_of_all(menu, extents[target.name]) for target in costs.others},
        objectives=("accuracy", *session.objectives),
        front=tuple(members),
        measurements=Measurements(len(session.new), len(session.known) - len(session.new)),
        reference=dict(zip(("error", *session.objectives), reference.tolist(), strict=True)),
        hypervolume=relative_volume(session.points(vectors, accuracy), reference),
        measured=_rows(session, vectors, accuracy),
        baselines={name: _baseline(session, chosen, reference) for name, chosen in baselines.items()},
        extremes=_extremes(session),
        stopped=stopped,
        hypervolumes={str(n): volumes[n - 1] for n in _marks(len(volumes))},
        gain_over_random=gain_over_random(
            _cost_and_accuracy(session, winners), _cost_and_accuracy(session, baselines.get("random", ()))
        ),
        predictor=predictor,
        seconds={stage: round(spent, 2) for stage, spent in session.stages.items()},
    )


def relative_volume(points: Floats, reference: Floats) -> float:
    """Hypervolume as a share of the box between zero and the reference."""
    return hypervolume(points / reference, np.ones(len(reference)))


def judge_predictor(
    session: Session,
    problem: Problem,
    predictor: AccuracyPredictor,
    choice: str,
    beforehand: Mapping[Candidate, float],
    winners: Sequence[Candidate],
    random: Sequence[Candidate],
) -> Fidelity:
    """How far to trust the accuracy predictor.

    Args:
        choice: which predictor it is, in words.
        beforehand: accuracy of each candidate as it was predicted before it was measured.
        random: random candidates that the predictor has never seen.
    """
    vectors, accuracy = session.measured()
    left_out, macs = predictor.leave_one_out(), session.costs.column("macs", vectors)
    unseen = unseen_macs = None
    if len(random) > 1:
        unseen_vectors, actual = session.scored(random)
        predicted = predictor.mean_of(problem.features(unseen_vectors))
        unseen = replace(ranking(predicted, actual), candidates=len(random), rmse=rmse(predicted, actual))
        unseen_macs = ranking(session.costs.column("macs", unseen_vectors), actual)
    return Fidelity(
        choice=choice,
        candidates=len(accuracy),
        leave_one_out=replace(ranking(left_out, accuracy), rmse=rmse(left_out, accuracy)),
        log_macs=rank_log_macs(macs, accuracy),
        random=unseen,
        random_log_macs=unseen_macs,
        beforehand=_foresight(session, beforehand),
        front_beforehand=_foresight(session, {c: beforehand[c] for c in winners if c in beforehand}),
    )


def _foresight(session: Session, predicted: Mapping[Candidate, float]) -> Foresight:
    return foresight(np.array(list(predicted.values())), session.scored(list(predicted))[1])


def _baseline(session: Session, candidates: Sequence[Candidate], reference: Floats) -> Baseline:
    vectors, accuracy = session.scored(candidates)
    points = session.points(vectors, accuracy)
    return Baseline(
        measurements=len(candidates),
        hypervolume=relative_volume(points, reference),
        hypervolumes={str(n): relative_volume(points[:n], reference) for n in _marks(len(points))},
        measured=_rows(session, vectors, accuracy),
    )


def _marks(count: int) -> list[int]:
    """Some numbers of measurements up to ``count``."""
    return [int(n) for n in np.unique(np.linspace(0, count, _MARKS + 1).round()) if n]


def _rows(session: Session, vectors: Vectors, accuracy: Floats) -> Rows:
    """Measured candidates, a row each: accuracy, then the costs that are objectives."""
    return tuple(map(tuple, np.column_stack([accuracy, session.chosen(vectors)]).tolist()))


def _cost_and_accuracy(session: Session, candidates: Sequence[Candidate]) -> Floats:
    """The first cost among the objectives and the accuracy, ``[n, 2]``."""
    if not candidates:
        return np.zeros((0, 2))
    vectors, accuracy = session.scored(candidates)
    return np.column_stack([session.chosen(vectors)[:, 0], accuracy])


def _extremes(session: Session) -> dict[str, Extreme]:
    """Accuracy and costs of the smallest and the largest network, where they were measured."""
    extremes = {}
    for name, vector in zip(("smallest", "largest"), session.space.extremes(), strict=True):
        score = session.known.get(session.candidates(vector[None])[0])
        if score is not None:
            costs = session.chosen(vector[None])[0].tolist()
            extremes[name] = Extreme(record_accuracy(score), dict(zip(session.objectives, costs, strict=True)))
    return extremes


def tau(a: Floats, b: Floats) -> float | None:
    """Kendall's rank correlation; None where it is not defined."""
    value = float(kendalltau(a, b).statistic) if len(a) > 1 else float("nan")
    return None if np.isnan(value) else value


def ranking(guess: Floats, truth: Floats) -> Ranking:
    """Kendall's tau of guesses ``[n]`` over all, and among the best 30 % by truth; None where not defined."""
    best = truth >= np.quantile(truth, 1 - _BEST) if len(truth) else np.zeros(0, bool)
    return Ranking(tau=tau(guess, truth), tau_best=tau(guess[best], truth[best]))


def rmse(guess: Floats, truth: Floats) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(np.mean((guess - truth) ** 2)))


def line_left_out(x: Floats, y: Floats) -> Floats:
    """The value at each point of a straight line through all the others, ``[n]``."""
    design = np.column_stack([np.ones(len(x)), x])
    hat = design @ np.linalg.pinv(design)
    free = np.maximum(1 - np.diag(hat), 1e-9)
    left: Floats = y - (y - hat @ y) / free
    return left


def rank_log_macs(macs: Floats, accuracy: Floats) -> Ranking:
    """How well log MACs rank candidates, and the error of a straight line over them, each point left out in turn."""
    logs = np.log(macs)
    return replace(ranking(logs, accuracy), rmse=rmse(line_left_out(logs, accuracy), accuracy))


def gain_over_random(front: Floats, random: Floats) -> float | None:
    """Mean accuracy of a front over that of random subnets at equal cost, in shares of one.

    The random subnets' accuracy at a cost is a parabola over its logarithm; members cheaper or dearer than all of them
    are left out. None: too few random subnets, or no member among them. Both are cost and accuracy, ``[n, 2]``.
    """
    if len(random) < 6:
        return None
    logs = np.log(random[:, 0])
    centre, width = logs.mean(), max(float(logs.std()), 1e-9)
    curve = np.polynomial.polynomial.polyfit((logs - centre) / width, random[:, 1], 2)
    inside = front[(front[:, 0] >= random[:, 0].min()) & (front[:, 0] <= random[:, 0].max())]
    if not len(inside):
        return None
    expected = np.polynomial.polynomial.polyval((np.log(inside[:, 0]) - centre) / width, curve)
    return float(np.mean(inside[:, 1] - expected))


def foresight(predicted: Floats, measured: Floats) -> Foresight:
    """Predictions made before measuring against the measurements, ``[n]`` each."""
    if not len(measured):
        return Foresight(0)
    pairs = tuple(zip(predicted.tolist(), measured.tolist(), strict=True))
    bias = float(np.mean(predicted - measured))
    return Foresight(len(measured), tau(predicted, measured), rmse(predicted, measured), bias, pairs)
