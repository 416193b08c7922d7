"""Tests with a short form, in ``make test``, and a long one, in ``make test-long``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

LONG = pytest.mark.long


def long_form(short: Iterable[Any], more: Iterable[Any]) -> list[Any]:
    """Parameters of a test: those of its short form, and more of the same in its long one."""
    return [*short, *(pytest.param(value, marks=LONG) for value in more)]
