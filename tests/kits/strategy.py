"""What every sampling strategy must do, on spaces that differ. A test runs the table through it."""

from __future__ import annotations

from functools import cache

import numpy as np

from nas.supernet.supernet import Supernet
from nas.training.strategies.base import Pass, RunFacts, Strategy
from nas.training.strategies.table import get_strategy
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Interface

SPACES = ("mbv3-tiny", "timm:resnet18:resolution=32,64", "timm:mixnet_s:resolution=64,96")
STEPS = 400
UNGUIDED = ("auto", "random", "cost-uniform", "teacher-first")
"""Strategies for which the largest subnet is one among many, at least after their beginning."""
IMAGES = 64


def facts_of(
    space: str | SearchSpace = SPACES[0], steps: int = STEPS, seed: int = 0, batch_size: int = IMAGES
) -> RunFacts:
    """A run on grey images of three classes."""
    found, interface = get_space(space) if isinstance(space, str) else space, Interface(1, 3)
    return RunFacts(found, steps, interface, seed, lambda: Supernet(found, interface, seed), batch_size)


@cache
def strategy_of(name: str, space: str = SPACES[0]) -> Strategy:
    """A strategy by its name, made once for all tests."""
    return get_strategy(name, facts_of(space))


def passes_of(strategy: Strategy, step: int, seed: int = 0) -> tuple[Pass, ...]:
    """As a run would have them, with losses drawn at random for the step."""
    losses = np.random.default_rng([7, step])
    return strategy.passes(step, np.random.default_rng([seed, 1, step]), lambda _: float(losses.random()))


def check_strategy(name: str, space: str) -> None:
    """All that follows, for a line of ``STRATEGIES``."""
    check_passes_can_be_run(name, space)
    check_a_step_depends_on_seed_and_number_alone(name, space)
    if name not in UNGUIDED:
        check_the_largest_is_visited_regularly(name, space)


def check_passes_can_be_run(name: str, space: str) -> None:
    """Passes are of the space, students come after a teacher of their part, and every image has a label's pass."""
    for step in range(0, STEPS, 5):
        passes = passes_of(strategy_of(name, space), step)
        assert passes
        taught, labelled = set(), np.zeros(IMAGES)
        for each in passes:
            get_space(space).encode(each.architecture)
            assert each.role in ("label", "teacher", "student")
            assert 0 <= each.weight < np.inf
            i, n = each.part
            assert 0 <= i < n
            if each.role == "student":
                assert each.part in taught
            else:
                labelled[i * IMAGES // n : (i + 1) * IMAGES // n] += 1
            if each.role == "teacher":
                taught.add(each.part)
        assert labelled.all()


def check_a_step_depends_on_seed_and_number_alone(name: str, space: str) -> None:
    """A strategy made again at any step, as a resumed run does, chooses what the first one did."""
    steps = (0, 1, 95, 150, 205, 399)
    first = {step: passes_of(strategy_of(name, space), step) for step in steps}
    again = get_strategy(name, facts_of(space))
    for step in reversed(steps):
        assert passes_of(again, step) == first[step]
    others = {passes_of(again, 399, seed) for seed in range(8)} | {passes_of(again, 398, seed) for seed in range(8)}
    assert len(others) > 1


def check_the_largest_is_visited_regularly(name: str, space: str) -> None:
    """At least every 100 steps."""
    largest, strategy = get_space(space).largest, strategy_of(name, space)
    there = [any(p.architecture == largest for p in passes_of(strategy, step)) for step in range(STEPS)]
    gaps = np.diff([0, *np.flatnonzero(there), STEPS])
    assert gaps.max() <= 100
