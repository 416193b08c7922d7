"""All sampling strategies by name. Looking at the table loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


AUTO, TEACHER_FIRST = "auto", "teacher-first"
SANDWICH_STEPS = 50_000
"""Steps from which the sandwich rule is chosen. ``benchmarks/training/strategies.py`` measures it: on Fashion-MNIST,
one random subnet per step was better at equal time, by less the longer the runs, up to 29,000 steps (10,000 of the
sandwich), since an untrained teacher hurts its students. The sandwich was published for about 110,000 steps on
ImageNet."""

STRATEGIES = {
    AUTO: Entry(".table", "make_chosen", "one that suits the first weights and the length of the run"),
    "random": Entry(".plain", "SingleRandom", "one random subnet per step"),
    "sandwich": Entry(".plain", "Sandwich", "the largest subnet teaches the smallest and two random ones"),
    "alternating": Entry(".plain", "Alternating", "extremes a quarter of the steps each, random subnets half"),
    "progressive": Entry(".progressive", "Progressive", "one kind of choice after the other becomes elastic"),
    "delayed": Entry(".delayed", "Delayed", "the largest first, then ever smaller ones"),
    "sorted": Entry(".nested", "Sorted", "a nested list of 8 subnets"),
    "attentive-best": Entry(".attentive", "Attentive", "a sandwich with the best of like subnets"),
    "attentive-worst": Entry(".attentive", "AttentiveWorst", "a sandwich with the worst of like subnets"),
    "preferred": Entry(".preferred", "Preferred", "up to 18 subnets chosen before training"),
    TEACHER_FIRST: Entry(
        ".teacher_first", "TeacherFirst", "the whole first; its answers then teach one random subnet per step"
    ),
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


def adapting_steps(share: float, steps: int) -> int:
    """The steps that strategy teacher-first trains the whole network alone."""
    return max(1, round(share * steps))


def choose(facts: RunFacts) -> tuple[str, str]:
    """Name of a strategy, and the reason for a person."""
    if facts.start == "network":
        alone = adapting_steps(facts.adapt_share, facts.steps) >= facts.steps
        then = "(`adapt_share` 1: nothing else)" if alone else "first, and then teaches its subnets"
        return TEACHER_FIRST, (
            f"strategy teacher-first: the run starts from a trained network; it is adapted to these images {then}"
        )
    many = facts.steps >= SANDWICH_STEPS
    name = "sandwich" if many else "random"
    why = (
        "long runs gain from distillation by the largest subnet"
        if many
        else "in short runs one random subnet per step learns most in the same time"
    )
    relation = "at least" if many else "fewer than"
    count = f"{facts.steps:,} steps are" if facts.steps != 1 else "1 step is"
    return name, f"strategy {name}: {count} {relation} {SANDWICH_STEPS:,}, and {why}"


def chosen_earlier(facts: RunFacts) -> str:
    """What ``auto`` means in the record of a run: what earlier versions chose, by the steps alone. Runs that begin now
    record the name."""
    return choose(replace(facts, start="random"))[0]


def make_chosen(facts: RunFacts) -> Strategy:
    """The strategy of a run whose record says ``auto``."""
    return get_strategy(chosen_earlier(facts), facts)
