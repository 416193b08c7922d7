"""Accuracy of a candidate with uncertainty, from a few measurements: what every predictor is, and the table of them.

A new predictor is one file here and one line in :data:`PREDICTORS`; ``docs/adding-a-predictor.md`` walks through one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol

from search_spaces.errors import unknown_name

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from search_spaces.genes import Floats

    from .features import Features


class AccuracyPredictor(Protocol):
    """A fitted predictor: frozen, and made of plain arrays, so that it is saved without pickling; ``kind`` is its name
    in :data:`PREDICTORS`, messages and files, and ``least`` how many measurements a fit needs."""

    kind: ClassVar[str]
    least: ClassVar[int]

    @classmethod
    def fit(cls, features: Features, accuracy: Floats, noise_std: float, seed: int) -> AccuracyPredictor:
        """Fit to ``n`` measured accuracies from 0 to 1; ``noise_std`` is the known standard error of one. Raises
        UsageError where a package is not installed, and ValueError where there are fewer than ``least``."""

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Mean and calibrated standard deviation of the accuracy, each of shape ``[n]``."""

    def covariance(self, features: Features, pick: int) -> Floats:
        """Covariance ``[n]`` of what is not known of each candidate's accuracy with that of row ``pick``."""

    def mean_of(self, features: Features) -> Floats:
        """The mean of :meth:`predict` alone, ``[n]``; faster."""

    def leave_one_out(self) -> Floats:
        """Predictions ``[n]`` of each measured candidate from others alone."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that decides its predictions, by the name of the constructor's argument."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: a file of this folder, an :class:`AccuracyPredictor` in it, and what that is."""

    module: str
    name: str
    summary: str


PREDICTORS = {
    "gp": Entry("gp", "GroupGP", "Gaussian process with a kernel over genes and physics"),
    "boosting": Entry("ensembles", "BoostedTrees", "gradient boosting, five members"),
    "mlp": Entry("ensembles", "MLPEnsemble", "small neural networks, five members"),
}
DEFAULT = "gp"
"""Used where there are too few measurements for the others, and where none of them is clearly better."""


def predictor_class(kind: str) -> type[AccuracyPredictor]:
    """The class of a kind of predictor. Raises UsageError where there is none of that name."""
    if kind not in PREDICTORS:
        raise unknown_name("accuracy predictor", kind, PREDICTORS)
    entry = PREDICTORS[kind]
    member: type[AccuracyPredictor] = getattr(import_module(f".{entry.module}", __package__), entry.name)
    return member


def to_bytes(predictor: AccuracyPredictor, space: str) -> bytes:
    """A predictor of candidates of that search space as a safetensors file, which cannot run code and which any later
    version can read: the arguments of the constructor of the class that the metadata names."""
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in predictor.arrays().items()}
    # one entry: safetensors writes several in an order that changes from run to run
    return save(arrays, {"predictor": json.dumps({"kind": predictor.kind, "space": space})})
