"""Accuracy predictors as files: safetensors, which cannot run code and which any later version can read."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import UserError

from .ensembles import BoostedTrees, MLPEnsemble
from .gp import GroupGP
from .predictor import AccuracyPredictor, Features

_Class = type[GroupGP] | type[BoostedTrees] | type[MLPEnsemble]
_CLASSES: dict[str, _Class] = {kind.kind: kind for kind in (GroupGP, BoostedTrees, MLPEnsemble)}


def to_bytes(predictor: AccuracyPredictor, space: str) -> bytes:
    """A predictor as a safetensors file; ``space`` names the search space whose candidates it knows."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in predictor.arrays().items()}
    # one entry: safetensors writes several in an order that changes from run to run
    return save(arrays, {"predictor": json.dumps({"kind": predictor.kind, "space": space})})


def read_predictor(path: Path, space: str, like: Features) -> AccuracyPredictor:
    """The predictor in a file of :func:`to_bytes`.

    Args:
        space: whose candidates it must know.
        like: what it will see of any candidates; those that it was fitted to must be as wide.

    Raises:
        UserError: there is no such file, it is damaged, or the predictor knows other candidates.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["predictor"])
        arrays = load(content)
        if facts["space"] != space:
            raise UserError(f"{path} is an accuracy predictor of space '{facts['space']}', not of '{space}'")
        kind = _CLASSES[facts["kind"]]
        _check(arrays, kind, like)
        values: dict[str, Any] = {n: float(a.item()) if kind.shapes[n] == () else a for n, a in arrays.items()}
        return kind(**values)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged, or no accuracy predictor: {error}; search again to write a new one"
        ) from None


def _check(arrays: Mapping[str, NDArray[Any]], kind: _Class, like: Features) -> None:
    """Refuse arrays that no fit could have made. Raises ValueError."""
    if arrays.keys() != kind.shapes.keys():
        raise ValueError(f"its arrays are {sorted(arrays)}, not {sorted(kind.shapes)}")
    genes, physics = like.genes.shape[1], like.physics.shape[1]
    sizes: dict[int | str, int] = {"genes": genes, "physics": physics, "features": genes + physics}
    for name, shape in kind.shapes.items():
        found = arrays[name]
        if shape == () and found.shape == (1,):  # as earlier versions wrote single numbers
            found = found[0]
        wanted = tuple(
            each if isinstance(each, int) else sizes.setdefault(each, size)
            for each, size in zip(shape, found.shape, strict=False)
        )
        if len(shape) != found.ndim or wanted != found.shape or not found.size:
            raise ValueError(f"{name} is of shape {list(found.shape)}, not {list(wanted) if wanted else list(shape)}")
        endless = found == np.inf if name == "threshold" else False  # of nodes that split nothing
        if found.dtype.kind != ("i" if name == "split" else "f") or not (np.isfinite(found) | endless).all():
            raise ValueError(f"{name} does not hold the numbers of a predictor")
    if "split" in arrays and (arrays["split"].min() < 0 or arrays["split"].max() >= sizes["features"]):
        raise ValueError("split names features that there are not")
