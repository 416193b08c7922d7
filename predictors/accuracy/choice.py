"""Which accuracy predictor: the Gaussian process, unless cross-validation on the measurements speaks against it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from search_spaces.errors import UsageError, unknown_name

from .ensembles import FOLDS, fit_boosting, fit_mlp, folds
from .gp import GroupGP, fit_gp
from .predictor import AccuracyPredictor, Features, Floats, warp

AUTO = "auto"
KINDS = ("gp", "boosting", "mlp")

WORTH_ASKING = 100
"""With fewer measurements than this the Gaussian process is always taken."""
_CLEARLY = 0.9


@dataclass(frozen=True)
class Choice:
    """Which predictor was taken, and why.

    Attributes:
        kind: one of :data:`KINDS`.
        rmse: cross-validated root mean square error by kind, of the logarithm of the networks' error; empty: none
            were compared.
        measurements: how many it rests on.
    """

    kind: str = "gp"
    rmse: dict[str, float] = field(default_factory=dict)
    measurements: int = 0

    def describe(self) -> str:
        """One line for a person."""
        if not self.rmse:
            return f"{self.kind} (not compared with others)"
        ranked = ", ".join(f"{k} {v:.3f}" for k, v in sorted(self.rmse.items(), key=lambda item: item[1]))
        return f"{self.kind}, by cross-validation on {self.measurements} measurements (RMSE of the log error: {ranked})"


def check_kind(kind: str) -> None:
    """Raises UsageError where ``kind`` is neither :data:`AUTO` nor one of :data:`KINDS`."""
    if kind not in (AUTO, *KINDS):
        raise unknown_name("accuracy predictor", kind, (AUTO, *KINDS))


def fit_kind(
    kind: str, features: Features, accuracy: Floats, noise_std: float = 0.0, seed: int = 0
) -> AccuracyPredictor:
    """Fit one kind of predictor; below the ten measurements that an ensemble needs it is the Gaussian process.

    Args:
        kind: one of :data:`KINDS`.
        features, accuracy, noise_std: as of :func:`fit_gp`.
        seed: of what is random.
    """
    if kind == "gp" or len(accuracy) < 2 * FOLDS:
        return fit_gp(features, accuracy, noise_std)
    return fit_boosting(features, accuracy, seed) if kind == "boosting" else fit_mlp(features, accuracy, seed)


def choose(gp: GroupGP, features: Features, accuracy: Floats, seed: int = 0) -> Choice:
    """The kind to use, by cross-validation over five folds.

    Another takes the place of the Gaussian process only where its error is a tenth lower, and where that difference is
    above its own standard error: the process states its uncertainty best, and a change of mind costs a search more
    than a hundredth of rank correlation.

    Args:
        gp: the process fitted to all of these measurements.
    """
    n = len(accuracy)
    if n < WORTH_ASKING:
        return Choice(measurements=n)
    held_out = {"gp": np.zeros(n)}
    for rows in folds(n, seed):
        held_out["gp"][rows] = gp.leave_fold_out(rows)
    try:
        held_out["boosting"] = fit_boosting(features, accuracy, seed).leave_one_out()
        held_out["mlp"] = fit_mlp(features, accuracy, seed).leave_one_out()
    except UsageError:  # without scikit-learn there is no choice
        return Choice(measurements=n)
    learned = warp(accuracy)
    squared = {kind: (-np.log(np.maximum(1 - found, 1e-9)) - learned) ** 2 for kind, found in held_out.items()}
    rmse = {kind: float(np.sqrt(found.mean())) for kind, found in squared.items()}
    best = min(rmse, key=lambda kind: rmse[kind])
    gain = squared["gp"] - squared[best]
    clear = rmse[best] < _CLEARLY * rmse["gp"] and gain.mean() > gain.std() / np.sqrt(n)
    return Choice(best if clear else "gp", rmse, n)
