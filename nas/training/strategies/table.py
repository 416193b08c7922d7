"""All sampling strategies by name. Looking at the table loads no framework."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from search_spaces.errors import unknown_name

if TYPE_CHECKING:
    from .base import RunFacts, Strategy


@dataclass(frozen=True)
class Entry:
    """A file of this folder, and what in it makes the strategy from :class:`nas.training.strategies.base.RunFacts`."""

    module: str
    maker: str
    summary: str


AUTO = "auto"

STRATEGIES = {
    AUTO: Entry(".auto", "make_chosen", "random in short runs, sandwich in long ones"),
    "random": Entry(".uniform", "SingleRandom", "one random subnet per step"),
    "sandwich": Entry(".sandwich", "Sandwich", "the largest subnet teaches the smallest and two random ones"),
    "alternating": Entry(".alternating", "Alternating", "extremes a quarter of the steps each, random subnets half"),
    "progressive": Entry(".progressive", "Progressive", "one kind of choice after the other becomes elastic"),
    "delayed": Entry(".delayed", "Delayed", "the largest first, then ever smaller ones"),
    "sorted": Entry(".nested", "Sorted", "a nested list of 8 subnets"),
    "attentive-best": Entry(".attentive", "Attentive", "a sandwich with the best of like subnets"),
    "attentive-worst": Entry(".attentive", "AttentiveWorst", "a sandwich with the worst of like subnets"),
    "preferred": Entry(".preferred", "Preferred", "up to 18 subnets chosen before training"),
    "cost-uniform": Entry(".cost_uniform", "CostUniform", "every range of MACs alike"),
}
"""A new strategy is one file in this folder and one line here."""


def get_strategy(name: str, facts: RunFacts) -> Strategy:
    """The strategy of that name for a run. Raises UsageError where it is unknown, or the space cannot support it."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    entry = STRATEGIES[name]
    strategy: Strategy = getattr(import_module(entry.module, __package__), entry.maker)(facts)
    return strategy
