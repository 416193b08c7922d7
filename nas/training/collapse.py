"""The watch for collapse.

A supernet collapses when its subnets come to answer every image alike, as published ones did at high learning rates.
The loss is then that of the best constant answer, and no later step brings it down. The loop therefore keeps a good
state aside, and returns to it, at half the learning rate, when a loss that was well below the constant answer's has
risen to it and stays there. What is watched is part of every checkpoint, and good states are kept at fixed steps, so a
run that is stopped returns to the same state as one that is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from nas.store.run import Run
from search_spaces.errors import UserError

from . import checkpoint
from .strategies.base import Pass

KEEP = 0.95
"""Of the smoothed loss, a step: a mean over about 20 steps."""
PATIENCE = 50
"""Steps that the loss must have been well below the constant answer's, and then in a row be no better than it."""
LEARNT, LOST = 0.1, 0.02
"""Shares of the constant answer's loss: below it by at least the first, or by no more than the second."""
GOOD = 0.75
"""A state is good whose smoothed loss keeps this share of what was gained at best on the constant answer's."""
SNAPSHOTS = 20
"""How often in a run, at most, a good state is kept."""
SLOWER = 0.5


@dataclass(frozen=True)
class Health:
    """What is known of the loss after some steps.

    Attributes:
        weight: how much of ``smoothed`` is there yet, from 0 up to 1.
        smoothed: exponential mean of the losses, too small by ``weight``.
        gained: most that the mean was ever below the constant answer's loss, at least 0.
        learnt: steps at which it was well below.
        lost: steps in a row, up to now, at which it was no better, after it had been.
        rollbacks: how often the run went back.
    """

    weight: float = 0.0
    smoothed: float = 0.0
    gained: float = 0.0
    learnt: int = 0
    lost: int = 0
    rollbacks: int = 0

    def after(self, loss: float, constant: float) -> Health:
        """The health after one more step, whose loss counts as at most twice the ``constant`` answer's: one bad batch
        isn't a collapse."""
        weight = KEEP * self.weight + 1 - KEEP
        smoothed = KEEP * self.smoothed + (1 - KEEP) * min(loss, 2 * constant)
        gain = constant - smoothed / weight
        learnt = self.learnt + (gain >= LEARNT * constant)
        lost = self.lost + 1 if learnt >= PATIENCE and gain <= LOST * constant else 0
        return Health(weight, smoothed, max(self.gained, gain), learnt, lost, self.rollbacks)

    @property
    def collapsed(self) -> bool:
        return self.lost >= PATIENCE

    def good(self, constant: float) -> bool:
        """Whether this is a state to go back to."""
        return self.weight > 0 and constant - self.smoothed / self.weight >= GOOD * self.gained

    @property
    def lr_factor(self) -> float:
        """On every learning rate."""
        return SLOWER**self.rollbacks


def _health(state: Mapping[str, float]) -> Health:
    """The health that a checkpoint holds; what another version added is ignored."""
    known: dict[str, Any] = {field.name: state[field.name] for field in fields(Health) if field.name in state}
    return Health(**known)


class Guard:
    """Watches a run of so many ``steps`` for collapse, from the ``health`` of a checkpoint on.

    Args:
        constant: loss of the best constant answer, :meth:`nas.tasks.task.Task.constant_loss`; None: it is not watched.
        rollbacks: how often the run may go back; 0: it is not watched.
    """

    def __init__(self, constant: float | None, rollbacks: int, steps: int, health: Mapping[str, float]) -> None:
        self.constant, self.limit = (0.0, 0) if constant is None else (constant, rollbacks)
        self.every = max(PATIENCE, -(-steps // SNAPSHOTS))
        self.health = _health(health)

    def see(self, passes: Sequence[Pass], losses: Sequence[float]) -> None:
        """Take note of a step's losses, one a pass.

        Only passes that learn from labels count, by their weight: students of a collapsed teacher agree with it, and
        subnets that a strategy has only begun to train may be bad without anything being wrong.
        """
        known = [(p.weight, loss) for p, loss in zip(passes, losses, strict=True) if p.role != "student" and p.weight]
        if self.limit and known:
            loss = sum(weight * loss for weight, loss in known) / sum(weight for weight, _ in known)
            self.health = self.health.after(loss, self.constant)

    def restarted(self) -> dict[str, float]:
        """The state of a guard that knows only how often the run went back: other networks are trained from here."""
        return {"rollbacks": self.health.rollbacks}

    def keeps(self, done: int) -> bool:
        """Whether the state after ``done`` steps is to be kept as a good one. It depends on the steps alone."""
        return bool(self.limit) and done % self.every == 0 and self.health.good(self.constant)

    def slow(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the learning rates that the schedule has just set."""
        if self.health.rollbacks:
            for group in optimizer.param_groups:
                group["lr"] *= self.health.lr_factor

    def state(self) -> dict[str, float]:
        """For the checkpoint; empty where nothing was seen."""
        return asdict(self.health) if self.health != Health() else {}

    def setbacks(self) -> tuple[int | None, float | None]:
        """How often the run went back, and what its learning rate is multiplied by since; None where it never did."""
        again = self.health.rollbacks
        return (again, self.health.lr_factor) if again else (None, None)

    def roll_back(self, run: Run, done: int, writes: bool = True) -> str:
        """Make the last good state the run's checkpoint, at a lower learning rate from there; returns a line about it.

        Args:
            done: steps done.
            writes: whether this process writes the run's files.

        Raises:
            UserError: it went back too often already, or there is no good state.
        """
        went = self.health.rollbacks
        what = (
            f"training collapsed by step {done}: the loss is {self.health.smoothed / self.health.weight:.3g}, "
            f"no better than that of a constant answer ({self.constant:.3g})"
        )
        if went >= self.limit:
            raise UserError(
                f"{what}, though it had gone back {went} times, to {self.health.lr_factor:g} of the learning rate; "
                "train again with another `out` and a lower `lr`, or more `warmup`"
            )
        if not writes:
            return what
        state = checkpoint.read(run.good)
        health = replace(_health(state.health), rollbacks=went + 1)
        state = replace(state, health=asdict(health))
        for _ in range(2):  # the one before, too: it would train on from what collapsed
            checkpoint.save(run, state)
        return f"{what}; continuing from step {state.step} with {health.lr_factor:g} of the learning rate"
