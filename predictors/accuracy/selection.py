"""Which accuracy predictor: the Gaussian process, unless cross-validation on the measurements shows a better one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.errors import UsageError

from .features import warp
from .predictor import DEFAULT, PREDICTORS, AccuracyPredictor, predictor_class

if TYPE_CHECKING:
    from search_spaces.genes import Floats

    from .features import Features
    from .gp import GroupGP

WORTH_ASKING = 100
"""With fewer measurements than this, the Gaussian process is always used."""
_CLEARLY = 0.9


@dataclass(frozen=True)
class Selection:
    """Which predictor is used, and why: by kind, the cross-validated root mean square error of the logarithm of the
    networks' error (empty: none were compared), and how many measurements that rests on."""

    kind: str = DEFAULT
    rmse: dict[str, float] = field(default_factory=dict)
    measurements: int = 0

    def describe(self) -> str:
        """One line for a person."""
        if not self.rmse:
            return f"{self.kind} (not compared with others)"
        ranked = ", ".join(f"{k} {v:.3f}" for k, v in sorted(self.rmse.items(), key=lambda item: item[1]))
        return f"{self.kind}, by cross-validation on {self.measurements} measurements (RMSE of the log error: {ranked})"


def fit_predictor(
    kind: str, features: Features, accuracy: Floats, noise_std: float = 0.0, seed: int = 0
) -> AccuracyPredictor:
    """Fit one kind of predictor, or the default one where it needs more measurements than there are."""
    chosen = predictor_class(kind)
    if len(accuracy) < chosen.least:
        chosen = predictor_class(DEFAULT)
    return chosen.fit(features, accuracy, noise_std, seed)


def choose(gp: GroupGP, features: Features, accuracy: Floats, seed: int = 0) -> Selection:
    """The kind to use, by cross-validation over five folds.

    Another predictor replaces the Gaussian process only if its error is at least 10 % lower, and if that difference is
    above its own standard error: the process states its uncertainty best, and a change of predictor costs a search more
    than a hundredth of rank correlation. ``gp`` is fitted to all of these measurements.
    """
    from .ensembles import folds

    n = len(accuracy)
    if n < WORTH_ASKING:
        return Selection(measurements=n)
    held_out = {DEFAULT: np.zeros(n)}
    for rows in folds(n, seed):
        held_out[DEFAULT][rows] = gp.leave_fold_out(rows)
    try:
        for kind in PREDICTORS:
            if kind != DEFAULT:
                held_out[kind] = fit_predictor(kind, features, accuracy, seed=seed).leave_one_out()
    except UsageError:  # a package isn't installed: there is no choice
        return Selection(measurements=n)
    learned = warp(accuracy)
    squared = {kind: (-np.log(np.maximum(1 - mean, 1e-9)) - learned) ** 2 for kind, mean in held_out.items()}
    rmse = {kind: float(np.sqrt(errors.mean())) for kind, errors in squared.items()}
    best = min(rmse, key=lambda kind: rmse[kind])
    gain = squared[DEFAULT] - squared[best]
    clear = rmse[best] < _CLEARLY * rmse[DEFAULT] and gain.mean() > gain.std() / np.sqrt(n)
    return Selection(best if clear else DEFAULT, rmse, n)
