"""Sampling strategies by name. A new one is one file here and one line in :data:`STRATEGIES`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from search_spaces.errors import unknown_name

from .alternating import Alternating
from .attentive import Attentive
from .auto import choose
from .base import LossOf, Pass, Setting, Strategy
from .cost_uniform import CostUniform
from .delayed import Delayed
from .nested import Sorted
from .preferred import Preferred
from .progressive import Progressive
from .sandwich import Sandwich
from .uniform import SingleRandom

AUTO = "auto"

STRATEGIES: dict[str, Callable[[Setting], Strategy]] = {
    AUTO: lambda setting: get_strategy(choose(setting)[0], setting),
    "random": SingleRandom,
    "sandwich": Sandwich,
    "alternating": Alternating,
    "progressive": Progressive,
    "delayed": Delayed,
    "sorted": Sorted,
    "attentive-best": Attentive,
    "attentive-worst": partial(Attentive, worst=True),
    "preferred": Preferred,
    "cost-uniform": CostUniform,
}


def get_strategy(name: str, setting: Setting) -> Strategy:
    """The strategy of that name for a run.

    Raises:
        UsageError: the name is unknown, or the space cannot support the strategy; the message says why.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name](setting)


__all__ = ["AUTO", "STRATEGIES", "LossOf", "Pass", "Setting", "Strategy", "choose", "get_strategy"]
