"""Rows and descriptions of what there is: spaces and targets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictors.targets.card import TargetCard
    from predictors.targets.target import Target
    from search_spaces.space import SearchSpace


def space_row(space: SearchSpace) -> dict[str, Any]:
    return {"name": space.name, "genes": len(space.genes), "subnets": space.size, "source": space.source}


def describe_space(space: SearchSpace, num_classes: int = 1000, in_chans: int = 3) -> dict[str, Any]:
    """Genes, exact number of subnets, and the costs of the smallest and the largest."""
    from predictors.costs.network import architecture_features, costs_of
    from search_spaces.architecture import Interface

    interface = Interface(in_chans, num_classes)
    ends = {"smallest": space.smallest, "largest": space.largest}
    return {
        **space_row(space),
        "classes": num_classes,
        "in_chans": in_chans,
        "choices": {gene.name: list(gene.choices) for gene in space.genes},
        "subnets": space.size,
        "costs": {
            name: {
                precision: asdict(costs_of(architecture_features(space, a, interface), precision))
                for precision in ("fp32", "int8")
            }
            for name, a in ends.items()
        },
    }


def target_row(target: TargetCard) -> dict[str, Any]:
    return {
        "name": target.name,
        "description": target.description,
        "runtime": target.runtime,
        "threads": target.threads,
        "precisions": list(target.precisions),
        "default_precision": target.default_precision,
        "memory": target.memory,
        "latency": {p: target.label(p) for p in target.precisions},
        "sources": {p: target.source(p) for p in target.precisions},
    }


def describe_target(target: Target) -> dict[str, Any]:
    """All that a target's file says: besides :func:`target_row`'s, constants and where everything comes from."""
    from predictors.targets.latency_section import latency_lines

    return target_row(target) | {
        "model": target.model or "onnx",
        "memory_rules": target.memory_rules,
        "memory_source": target.memory_source,
        "constants": {p: latency_lines(target.latency, p) for p in target.latency.precisions},
    }
