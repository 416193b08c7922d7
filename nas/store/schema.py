"""Whether what a JSON file holds has the form that it must have.

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

from search_spaces.errors import UserError

_NAMES: dict[Any, str] = {
    str: "a text", bool: "true or false", int: "a whole number", float: "a number", None: "null",
    type(None): "null",
}  # fmt: skip
_LONGEST = 60
LARGEST = 2**53
"""Beyond, a number is no longer one that JSON writers agree on."""


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
            return f"{place} is {shown(value)}, not a list"
        return next((p for i, each in enumerate(value) if (p := problem(each, form[0], f"{place}[{i}]"))), "")
    if isinstance(form, dict):
        return _table_problem(value, form, place)
    if callable(form) and form not in _NAMES:
        return f"{place}: {found}" if (found := form(value)) else ""
    return "" if _is(value, form) else f"{place} is {shown(value)}, not {_NAMES[form]}"


def _table_problem(value: Any, form: dict[Any, Any], place: str) -> str:
    if not isinstance(value, dict):
        return f"{place} is {shown(value)}, not a table"
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
        return isinstance(value, int | form) and abs(value) <= (LARGEST if form is int else math.inf) and _finite(value)
    return isinstance(value, form)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def shown(value: Any) -> str:
    """A value in a message."""
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
        return f"{shown(value)} is not {_NAMES[form]} from {low:g} to {high:g}"

    return rule


def form_of(kind: type) -> dict[Any, Any]:
    """The form of a dataclass of plain values, each of which may be missing."""
    return {f"{name}?": get_args(hint) or hint for name, hint in get_type_hints(kind).items()}
