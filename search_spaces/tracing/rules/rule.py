"""The table of rules. A rule says what the dimensions of an operator's results are, and unifies those of its arguments.

Names are those that PyTorch dispatches, without the ``_`` of the in-place form.
"""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.tracing.dimensions.axes import Dim, cut, fixed
from search_spaces.tracing.labels import Call

Rule = Callable[[Call], None]


class UnknownError(Exception):
    """A rule doesn't know what an operator does with these arguments."""


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """The rule of operators of these names."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


def pieces(call: Call, dim: Dim, sizes: list[int], why: str) -> list[Dim]:
    """A dimension in pieces; where it cannot be cut there, it stays as it is."""
    found = cut(dim, sizes)
    if found is None:
        call.fix([dim], why)
        return [fixed(size) for size in sizes]
    return found
