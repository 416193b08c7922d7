"""Sampling strategies by name. A new one is one file here and one line in :data:`STRATEGIES`."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.errors import unknown_name

from .base import LossOf, Pass, Setting, Strategy
from .sandwich import Sandwich
from .uniform import SingleRandom

STRATEGIES: dict[str, Callable[[Setting], Strategy]] = {
    "random": SingleRandom,
    "sandwich": Sandwich,
}


def get_strategy(name: str, setting: Setting) -> Strategy:
    """The strategy of that name for a run.

    Raises:
        UsageError: the name is unknown, or the space cannot support the strategy; the message says why.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name](setting)


__all__ = ["STRATEGIES", "LossOf", "Pass", "Setting", "Strategy", "get_strategy"]
