"""What there is: search spaces and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.runtimes.table import DEFAULT
from predictors.costs.network import Costs, architecture_features, costs_of
from search_spaces.architecture import Interface

if TYPE_CHECKING:
    from predictors.targets.card import TargetCard
    from predictors.targets.target import Target
    from search_spaces.space import SearchSpace

PICKS = {"best": "the most accurate", "fastest": "on the target", "smallest": "in bytes"}
"""Words for members of a front."""
ALL = "all"
"""The word for all of them."""
PRECISIONS = ("fp32", "int8")
IMAGENET = Interface(3, 1000)


@dataclass(frozen=True)
class SpaceSummary:
    """A search space in a list; ``source``: the paper or the network that it is made from."""

    name: str
    genes: int
    subnets: int
    source: str


@dataclass(frozen=True)
class SpaceDescription(SpaceSummary):
    """A search space in full; ``costs``: of the ``smallest`` and the ``largest`` subnet by precision, for so many
    classes and channels of an image; ``stays``: why what cannot shrink, as ``Family.stays`` has it."""

    classes: int
    in_chans: int
    choices: Mapping[str, tuple[int | float, ...]]
    costs: Mapping[str, Mapping[str, Costs]]
    stays: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class TargetSummary:
    """A target in a list.

    Attributes:
        threads: of one inference; None: not known.
        memory: limits, as :attr:`predictors.targets.card.TargetCard.memory`; empty: none.
        latency, sources: how far to trust its latencies and where they come from, by precision.
        measured: of which networks, by precision; none, if not known.
    """

    name: str
    description: str
    runtime: str
    threads: int | None
    precisions: tuple[str, ...]
    default_precision: str
    memory: Mapping[str, int | str]
    latency: Mapping[str, str]
    measured: Mapping[str, str]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class TargetDescription(TargetSummary):
    """All that a target's file says; ``constants``: lines of the latency model, by precision."""

    model: str
    memory_rules: str
    memory_source: str | None
    constants: Mapping[str, tuple[str, ...]]


def summarise_space(space: SearchSpace) -> SpaceSummary:
    return SpaceSummary(space.name, len(space.genes), space.size, space.source)


def describe_space(space: SearchSpace) -> SpaceDescription:
    """A space with its genes and the costs of its ends."""
    ends = {"smallest": space.smallest, "largest": space.largest}
    features = {name: architecture_features(space, end, IMAGENET) for name, end in ends.items()}
    return SpaceDescription(
        **vars(summarise_space(space)),
        classes=IMAGENET.outputs,
        in_chans=IMAGENET.in_chans,
        choices={gene.name: tuple(gene.choices) for gene in space.genes},
        costs={name: {p: costs_of(row, p) for p in PRECISIONS} for name, row in features.items()},
        stays=space.family.stays(),
    )


def summarise_target(target: TargetCard) -> TargetSummary:
    return TargetSummary(
        target.name,
        target.description,
        target.runtime,
        target.threads,
        target.precisions,
        target.default_precision,
        target.memory,
        latency={p: target.label(p) for p in target.precisions},
        measured={
            p: target.measured[target.runs_as(p)].summary
            for p in target.precisions
            if target.runs_as(p) in target.measured
        },
        sources={p: target.source(p) for p in target.precisions},
    )


def describe_target(target: Target) -> TargetDescription:
    """A target with the constants of its latencies."""
    from predictors.targets.latency_section import latency_lines

    return TargetDescription(
        **vars(summarise_target(target)),
        model=target.model or DEFAULT,
        memory_rules=target.memory_rules,
        memory_source=target.memory_source,
        constants={p: tuple(latency_lines(target.latency, p)) for p in target.latency.precisions},
    )
