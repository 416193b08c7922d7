"""What the JSON files of a run must hold, checked before anything is made of them: they may come from anywhere.

What a form is: :mod:`nas.store.schema`.
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Architecture

from .schema import LARGEST, between, shown


def _architecture(value: Any) -> str:
    try:
        found = Architecture.from_dict(value)
    except (ValueError, TypeError) as error:
        return str(error)
    return "" if "resolution" in found else "gene resolution is missing"


_COUNT = between(0, LARGEST, int)
_POSITIVE = between(1e-12, 1e300)
_CHANNELS = between(1, 4096, int)
_SIDE = between(1, 65536, int)
_ACCURACY = {"value": between(0, 1), "low": between(0, 1), "high": between(0, 1), "correct": _COUNT, "images": _COUNT}
_COSTS = {"macs": _COUNT, "params": _COUNT, "size_bytes": between(0, 1e300), "peak_activation_bytes": between(0, 1e300)}
_VERSIONS = {str: str}

DATA = {
    "source": str, "classes": [str], "in_chans": between(1, 3, int), "mean": [float], "std": [_POSITIVE],
    "native_size": _SIDE, "counts": {str: _COUNT}, "crop_pct": between(1e-3, 1), "interpolation": str,
    "fingerprint": str, "task?": str,
}  # fmt: skip
"""What a run remembers of its data, ``nas.data.dataset.DataInfo``."""

RUN = {
    "config": {"space?": str, "source?": str}, "data": {str: object}, "complete": bool, "weights?": str,
    "steps?": (_COUNT, None), "lr?": _POSITIVE, "finetuned_from?": str, "versions?": _VERSIONS,
}  # fmt: skip
"""``run.json``; its settings and its data are checked by who needs them."""

MEMBER = {
    "id": str, "architecture": _architecture, "precision": str, "accuracy": _ACCURACY, "test": _ACCURACY,
    "latency_ms": between(0, 1e300), **_COSTS,
}  # fmt: skip
"""A member of a front."""

SEARCH = {
    "config": {"target": str, "calibration_images?": between(1, 2**31, int)}, "front": [MEMBER], "weights": str,
    "versions?": _VERSIONS,
}  # fmt: skip
"""``search-<target>.json``: what is exported and estimated of it."""

CHECKPOINT = {
    "step": _COUNT, "seconds": between(0, 1e300), "groups": [{"params": [_COUNT]}], "scalars": {str: {str: object}},
    "scaler?": {str: (float, None)}, "health?": {str: between(-1e300, 1e300)},
}  # fmt: skip
"""Metadata of a checkpoint."""

CLAIM = {"candidate": str, "worker": str, "host": str, "process": between(1, 2**31 - 1, int), "beat": _COUNT}
"""What a journal says of a claim, see ``nas.journal.claims``."""


def _only_one(value: Any) -> str:
    return "" if isinstance(value, list) and len(value) == 1 else f"{shown(value)} is not a list of one"


AGREEMENT = {"topic": str, "agreed": _only_one}
"""What a journal says of an agreement, see ``nas.journal.agreements``; what was agreed has a form of its own."""

BEGUN = {"prior": _COUNT}
"""What the workers of a search agree on when it begins."""

INPUT = {
    "input_size": [_SIDE], "mean": [float], "std": [_POSITIVE], "interpolation": str, "crop_pct": between(1e-3, 1),
}  # fmt: skip
SPEC = {
    "model": str, "options": {str: object}, "arguments": {str: object}, "blocks": {str: [{str: object}]},
    "num_classes": between(1, 10**7, int), "in_chans": _CHANNELS, "head_dim?": _CHANNELS,
}  # fmt: skip
TEACHER = {"timm": SPEC, "input": INPUT, "classes": [str]}
"""``architecture.json`` as far as a teacher needs it."""

EXPORTED = {
    "timm": SPEC, "input": {"input_size": [_SIDE]}, "candidate": str, "precision": str, "target": {"name": str},
}  # fmt: skip
"""``architecture.json`` as far as an estimate needs it."""


def _plain_name(value: Any) -> str:
    """A name of a file that lies in the folder itself."""
    if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable() and not set(value) & set("/\\:"):
        return "" if value.strip(".") else "no name of a file"
    return f"{shown(value)} is no name of a file in the bundle's own folder"


BUNDLE = {
    "bundle": str, "reference": str, "threads": between(1, 1024, int),
    "plan": {"precisions": [str]}, "versions": {"torch": str, "timm": str},
    "networks": [
        {"name": str, "use": str, "part": {"space": str, "num_classes": between(1, 10**6, int), "in_chans": _CHANNELS},
         "input": [_SIDE], "architecture": _architecture,
         "files": {str: {"file": _plain_name, "sha256": str}}},
    ],
}  # fmt: skip
"""``manifest.json`` of a bundle."""
