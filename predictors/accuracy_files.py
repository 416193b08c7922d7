"""Accuracy predictors as bytes: safetensors, which cannot run code and which any later version can read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np

from search_spaces.errors import UserError

from .accuracy import AccuracyPredictor
from .accuracy_ensemble import BoostedTrees, MLPEnsemble
from .accuracy_gp import GroupGP

_CLASSES: dict[str, Callable[..., AccuracyPredictor]] = {"gp": GroupGP, "boosting": BoostedTrees, "mlp": MLPEnsemble}


def to_bytes(predictor: AccuracyPredictor, space: str) -> bytes:
    """A predictor as a safetensors file; ``space`` names the search space whose candidates it knows."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in predictor.arrays().items()}
    # one entry: safetensors writes several in an order that changes from run to run
    return save(arrays, {"predictor": json.dumps({"kind": predictor.kind, "space": space})})


def from_bytes(content: bytes, space: str) -> AccuracyPredictor:
    """Inverse of :func:`to_bytes`.

    Raises:
        UserError: the content is damaged, or the predictor knows another space.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        (length,) = struct.unpack("<Q", content[:8])
        facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["predictor"])
        arrays = load(content)
        if facts["space"] != space:
            raise UserError(f"this accuracy predictor is of space '{facts['space']}', not '{space}'; give that one's")
        known = _CLASSES[facts["kind"]]
        return known(**{name: float(a) if a.ndim == 0 else a for name, a in arrays.items()})
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"not an accuracy predictor, or damaged: {error}; search again to write a new one") from None
