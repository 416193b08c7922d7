"""What is wrong with the entries of a target file, in the file's terms."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any


def unknown(place: str, table: dict[str, Any], known: Sequence[str]) -> list[str]:
    """A line for each key that is not known, with the nearest one."""
    problems = []
    for key in sorted(set(table) - set(known)):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"keys are {', '.join(known)}"
        problems.append(f"unknown key '{place}{key}', {hint}")
    return problems


def text(place: str, table: dict[str, Any], key: str) -> list[str]:
    """A line if the key is missing or not a text."""
    if key not in table:
        return [f"{place}{key} is missing"]
    if not isinstance(table[key], str) or not table[key].strip():
        return [f"{place}{key} = {show(table[key])} must be a text"]
    return []


def amount(place: str, table: dict[str, Any], key: str) -> list[str]:
    """A line if the key is missing or not a number of 0 or more."""
    if key not in table:
        return [f"{place}{key} is missing"]
    if not is_number(table[key]) or table[key] < 0:
        return [f"{place}{key} = {show(table[key])} must be a number, 0 or more"]
    return []


def numbers(place: str, table: dict[str, Any], key: str, length: int | None = None) -> list[str]:
    """A line if the key is missing or not a list of (that many) numbers."""
    if key not in table:
        return [f"{place}{key} is missing"]
    value = table[key]
    if not isinstance(value, list) or not value or not all(map(is_number, value)):
        return [f"{place}{key} must be a list of numbers"]
    if length is not None and len(value) != length:
        return [f"{place}{key} has {len(value)} numbers, not {length}"]
    return []


def rows(place: str, table: dict[str, Any], key: str, width: int) -> list[str]:
    """A line if the key is missing or not a list of lists of ``width`` numbers."""
    if key not in table:
        return [f"{place}{key} is missing"]
    value = table[key]
    if not isinstance(value, list) or not value:
        return [f"{place}{key} must be a list of lists of numbers"]
    for i, row in enumerate(value):
        if not isinstance(row, list) or len(row) != width or not all(map(is_number, row)):
            return [f"{place}{key}[{i}] must be a list of {width} numbers"]
    return []


def is_number(value: Any) -> bool:
    """A finite number, and not a truth value."""
    return type(value) in (int, float) and math.isfinite(value)


def show(value: Any) -> str:
    """A value in a message."""
    return repr(value) if not isinstance(value, dict | list) else "a table or list"
