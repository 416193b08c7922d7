"""What a long job tells while it runs, for progress displays and loggers.

A job takes a :data:`Listener` and calls it with one event at a time; :func:`ignore` listens to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Warned:
    """Something that the user should know and may want to change."""

    text: str


@dataclass(frozen=True)
class Noted:
    """Something that the job decided or is about to do."""

    text: str


@dataclass(frozen=True)
class Started:
    """A training begins: ``steps`` of the whole run, on the data set that the user named ``source``."""

    run: str
    steps: int
    source: str


@dataclass(frozen=True)
class Stepped:
    """A training has done some more steps; a line of ``metrics.jsonl``.

    Attributes:
        step, steps: steps done, of how many in the whole run.
        loss: mean of the step's subnets.
        epoch: passes over the training split so far.
        eta_s: seconds that the rest will take.
        rollbacks: how often the run went back to a good state; None where it never did.
        lr_factor: what the learning rate is multiplied by since; None where the run never went back.
    """

    step: int
    loss: float
    steps: int | None = None
    epoch: float | None = None
    eta_s: float | None = None
    rollbacks: int | None = None
    lr_factor: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """Accuracies of some subnets during a training, shares of one by name: ``smallest``, ``random``, ``largest``; a
    line of ``metrics.jsonl``."""

    step: int
    accuracies: Mapping[str, float]
    steps: int | None = None


@dataclass(frozen=True)
class Recalled:
    """What earlier measurements are worth for a search, before it adds its own: how many it may use, how many are on
    their Pareto front, and its hypervolume relative to the reference point."""

    measurements: int
    front: int
    hypervolume: float


@dataclass(frozen=True)
class Measured:
    """A search has one more measurement: ``done`` of the ``total`` that ``origin`` asks for, which is ``first``,
    ``search`` or the name of a baseline; ``accuracy`` is a share of one."""

    origin: str
    done: int
    total: int
    accuracy: float


@dataclass(frozen=True)
class Advanced:
    """A stage of a profile, named in words, is one network further; ``note``: what was done last."""

    stage: str
    done: int
    total: int
    note: str


Event = Warned | Noted | Started | Stepped | Evaluated | Recalled | Measured | Advanced
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for jobs that nobody watches."""
