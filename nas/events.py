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
class Described:
    """What the data set looks like, a fact per line."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A training begins.

    Attributes:
        run: its directory.
        steps: steps of the whole run.
        source: the data set, as the user named it.
    """

    run: str
    steps: int
    source: str


@dataclass(frozen=True)
class Stepped:
    """A training has done some more steps; a line of ``metrics.jsonl``.

    Attributes:
        step: steps done.
        loss: mean loss of the step's subnets.
        steps: steps of the whole run.
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
    """Accuracies of some subnets during a training; a line of ``metrics.jsonl``.

    Attributes:
        step: steps done.
        accuracies: share of correct answers, 0 to 1, by the name of the subnet: ``smallest``, ``random``, ``largest``.
        steps: steps of the whole run.
    """

    step: int
    accuracies: Mapping[str, float]
    steps: int | None = None


@dataclass(frozen=True)
class Recalled:
    """What earlier measurements are worth for a search, before it adds its own.

    Attributes:
        measurements: how many the search may use.
        front: how many of them are on their Pareto front.
        hypervolume: of that front, relative to the reference point.
    """

    measurements: int
    front: int
    hypervolume: float


@dataclass(frozen=True)
class Measured:
    """A search has one more measurement.

    Attributes:
        origin: what asked for it: ``first``, ``search`` or the name of a baseline.
        done: measurements of that origin so far.
        total: measurements that it will make.
        accuracy: share of correct answers of the subnet just measured, 0 to 1.
    """

    origin: str
    done: int
    total: int
    accuracy: float


@dataclass(frozen=True)
class Advanced:
    """A stage of a profile is one network further.

    Attributes:
        stage: what is being done, in words.
        done: networks done.
        total: networks of the stage.
        note: what was done last.
    """

    stage: str
    done: int
    total: int
    note: str


Event = Warned | Noted | Described | Started | Stepped | Evaluated | Recalled | Measured | Advanced
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for jobs that nobody watches."""
