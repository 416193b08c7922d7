"""Which strategy suits a run."""

from __future__ import annotations

from .base import RunFacts, Strategy
from .table import get_strategy

SANDWICH_STEPS = 50_000
"""Steps from which the sandwich rule is chosen. ``benchmarks/training/strategies.py`` measures it: on Fashion-MNIST,
one random subnet per step was better at equal time, by less the longer the runs, up to 29,000 steps (10,000 of the
sandwich), since an untrained teacher hurts its students. The sandwich was published for about 110,000 steps on
ImageNet."""


def choose(facts: RunFacts) -> tuple[str, str]:
    """Name of a strategy, and the reason for a person. A function of the run's settings, so the same on resume."""
    many = facts.steps >= SANDWICH_STEPS
    name = "sandwich" if many else "random"
    why = (
        "long runs gain from distillation by the largest subnet"
        if many
        else "in short runs one random subnet per step learns most in the same time"
    )
    relation = "at least" if many else "fewer than"
    return name, f"strategy {name}: {facts.steps:,} steps are {relation} {SANDWICH_STEPS:,}, and {why}"


def make_chosen(facts: RunFacts) -> Strategy:
    """The strategy that suits a run."""
    return get_strategy(choose(facts)[0], facts)
