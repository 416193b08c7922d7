"""Tables of what there is: spaces and targets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from predictors.target import Target
from search_spaces.space import SearchSpace

from .display import OUT


def space_row(space: SearchSpace) -> dict[str, Any]:
    return {"name": space.name, "genes": len(space.genes), "subnets": space.size, "source": space.source}


def describe_space(space: SearchSpace, num_classes: int = 1000, in_chans: int = 3) -> dict[str, Any]:
    """Genes, exact number of subnets, and the costs of the smallest and the largest."""
    from predictors.costs import architecture_features, costs_of

    ends = {"smallest": space.smallest, "largest": space.largest}
    return {
        **space_row(space),
        "classes": num_classes,
        "in_chans": in_chans,
        "choices": {gene.name: list(gene.choices) for gene in space.genes},
        "subnets": space.size,
        "costs": {
            name: {
                precision: asdict(costs_of(architecture_features(space, a, num_classes, in_chans), precision))
                for precision in ("fp32", "int8")
            }
            for name, a in ends.items()
        },
    }


def print_spaces(rows: list[dict[str, Any]]) -> None:
    table = Table()
    for name in ("space", "genes", "subnets", "source"):
        table.add_column(name, justify="right" if name in ("genes", "subnets") else "left")
    for row in rows:
        table.add_row(row["name"], str(row["genes"]), f"{row['subnets']:.3g}", row["source"])
    OUT.print(table)


def print_space(facts: dict[str, Any]) -> None:
    OUT.print(f"{facts['name']}: {facts['source']}", soft_wrap=True, highlight=False)
    OUT.print(f"{facts['subnets']:,} subnets", soft_wrap=True)
    table = Table("gene", "choices")
    for name, choices in facts["choices"].items():
        table.add_row(name, ", ".join(map(str, choices)))
    OUT.print(table)
    for name, costs in facts["costs"].items():
        fp32, int8 = costs["fp32"], costs["int8"]
        OUT.print(
            f"{name}: {fp32['macs'] / 1e6:.2f} MMACs, {fp32['params']:,} parameters, "
            f"{fp32['size_bytes'] / 1e6:.2f} MB fp32, {int8['size_bytes'] / 1e6:.2f} MB int8, "
            f"{int8['peak_activation_bytes'] / 1e3:.0f} kB int8 activations "
            f"({facts['classes']} classes, {facts['in_chans']} channels)",
            soft_wrap=True,
        )


def target_row(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "description": target.description,
        "runtime": target.runtime,
        "precisions": list(target.precisions),
        "default_precision": target.default_precision,
        "latency": {p: target.label(p) for p in target.precisions},
        "sources": {p: target.source(p) for p in target.precisions},
    }


def print_targets(rows: list[dict[str, Any]]) -> None:
    table = Table("target", "device and runtime", "precision", "latency")
    for row in rows:
        for i, (precision, label) in enumerate(row["latency"].items()):
            first = (row["name"], f"{row['description']}; {row['runtime']}") if i == 0 else ("", "")
            table.add_row(*first, precision, label)
    OUT.print(table)
