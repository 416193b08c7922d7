"""Accuracy predictors as files: safetensors, which cannot run code and which any later version can read."""

from __future__ import annotations

import json

import numpy as np

from .predictor import AccuracyPredictor


def to_bytes(predictor: AccuracyPredictor, space: str) -> bytes:
    """A predictor as a safetensors file; ``space`` names the search space whose candidates it knows.

    The arrays are the constructor's arguments of the class that the metadata names.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in predictor.arrays().items()}
    # one entry: safetensors writes several in an order that changes from run to run
    return save(arrays, {"predictor": json.dumps({"kind": predictor.kind, "space": space})})
