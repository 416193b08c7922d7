"""What the JSON files of a run must hold, checked before anything is made of them: they may come from anywhere.

A *form* is ``str``, ``bool``, ``int``, ``float`` (any finite number), ``object`` (anything), ``None``, a list of one
form (each entry has it), a dictionary of them (a table with at least these keys; a key that ends in ``?`` may be
missing; the key ``str`` stands for all keys), a tuple (one of them), or a function that says what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from search_spaces.architecture import Architecture
from search_spaces.errors import UserError

_NAMES: dict[Any, str] = {
    str: "a text", bool: "true or false", int: "a whole number", float: "a number", None: "null",
    type(None): "null",
}  # fmt: skip
_LONGEST = 60
_LARGEST = 2**53  # beyond, a number is no longer one that JSON writers agree on


def check_form(value: Any, form: Any, path: Path) -> None:
    """Refuse what has not the form. Raises UserError: names the file, the place in it and the rule."""
    if found := problem(value, form):
        raise UserError(f"{path} is damaged: {found}; restore or remove it")


def problem(value: Any, form: Any, place: str = "it") -> str:
    """The first thing that is wrong with a value; empty: nothing."""
    if form is object:
        return ""
    if isinstance(form, tuple):
        found = [problem(value, one, place) for one in form]
        return "" if "" in found else found[0]
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{place} is {_shown(value)}, not a list"
        return next((p for i, each in enumerate(value) if (p := problem(each, form[0], f"{place}[{i}]"))), "")
    if isinstance(form, dict):
        return _table_problem(value, form, place)
    if callable(form) and form not in _NAMES:
        return f"{place}: {found}" if (found := form(value)) else ""
    return "" if _is(value, form) else f"{place} is {_shown(value)}, not {_NAMES[form]}"


def _table_problem(value: Any, form: dict[Any, Any], place: str) -> str:
    if not isinstance(value, dict):
        return f"{place} is {_shown(value)}, not a table"
    inside = "" if place == "it" else f"{place}."
    if str in form:
        return next((p for key, each in value.items() if (p := problem(each, form[str], inside + _short(key)))), "")
    for key, each in form.items():
        name = key.removesuffix("?")
        if name in value:
            if found := problem(value[name], each, inside + name):
                return found
        elif name == key:
            return f"{inside}{name} is missing"
    return ""


def _is(value: Any, form: Any) -> bool:
    if form in (None, type(None)):
        return value is None
    if isinstance(value, bool):
        return form is bool
    if form in (int, float):
        return (
            isinstance(value, int | form) and abs(value) <= (_LARGEST if form is int else math.inf) and _finite(value)
        )
    return isinstance(value, form)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _shown(value: Any) -> str:
    try:
        return _short(json.dumps(value))
    except (ValueError, RecursionError):
        return "something else"


def _short(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text[: _LONGEST + 1])
    return printable if len(text) <= _LONGEST else f"{printable[:_LONGEST]}..."


Rule = Callable[[Any], str]


def between(low: float, high: float, form: type = float) -> Rule:
    """Numbers within both ends."""

    def rule(value: Any) -> str:
        if _is(value, form) and low <= value <= high:
            return ""
        return f"{_shown(value)} is not {_NAMES[form]} from {low:g} to {high:g}"

    return rule


def form_of(kind: type) -> dict[Any, Any]:
    """The form of a dataclass of plain values, each of which may be missing."""
    return {f"{name}?": get_args(hint) or hint for name, hint in get_type_hints(kind).items()}


def _architecture(value: Any) -> str:
    try:
        found = Architecture.from_dict(value)
    except (ValueError, TypeError) as error:
        return str(error)
    return "" if "resolution" in found else "gene resolution is missing"


_COUNT = between(0, _LARGEST, int)
_POSITIVE = between(1e-12, 1e300)
_CHANNELS = between(1, 4096, int)
_SIDE = between(1, 65536, int)
_ACCURACY = {"value": between(0, 1), "low": between(0, 1), "high": between(0, 1), "correct": _COUNT, "images": _COUNT}
_COSTS = {"macs": _COUNT, "params": _COUNT, "size_bytes": between(0, 1e300), "peak_activation_bytes": between(0, 1e300)}
_VERSIONS = {str: str}

DATA = {
    "source": str, "classes": [str], "in_chans": between(1, 3, int), "mean": [float], "std": [_POSITIVE],
    "native_size": _SIDE, "counts": {str: _COUNT}, "crop_pct": between(1e-3, 1), "interpolation": str,
    "fingerprint": str,
}  # fmt: skip
"""What a run remembers of its data, ``nas.data_set.DataInfo``."""

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
"""What a journal says of a claim, see ``nas.claims``."""


def _only_one(value: Any) -> str:
    return "" if isinstance(value, list) and len(value) == 1 else f"{_shown(value)} is not a list of one"


AGREEMENT = {"topic": str, "agreed": _only_one}
"""What a journal says of an agreement, see ``nas.agreements``; what was agreed has a form of its own."""

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
    return f"{_shown(value)} is no name of a file in the bundle's own folder"


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
