"""Tables of what there is: spaces and targets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
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


def print_estimate(facts: dict[str, Any]) -> None:
    """Costs of a network, and where its time goes if that was asked for."""
    side = facts["resolution"]
    image = f"{side} px" if isinstance(side, int) else f"{side[0]} x {side[1]} px"
    OUT.print(f"{facts['model']}, {image}, {facts['precision']}, on {facts['target']}", soft_wrap=True, highlight=False)
    if "layers" in facts:
        _print_layers(facts)
    table = Table("latency ms", "MMACs", "parameters", "size MB", "peak activations MB")
    table.add_row(
        f"{facts['latency_ms']:.2f}", f"{facts['macs'] / 1e6:.1f}", f"{facts['params']:,}",
        f"{facts['size_bytes'] / 1e6:.2f}", f"{facts['peak_activation_bytes'] / 1e6:.2f}",
    )  # fmt: skip
    OUT.print(table)
    OUT.print(f"latency: {facts['latency_source']}; {facts['latency_basis']}", highlight=False, markup=False)


def _print_layers(facts: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("path", no_wrap=True)
    for name in ("kind", "output", "MMACs", "weights", "kB moved", "ms", "% of ms"):
        table.add_column(name, justify="left" if name in ("kind", "output") else "right", no_wrap=True)
    total = facts["latency_ms"] or 1.0
    for row in facts["layers"]:
        table.add_row(
            row["path"], row["kind"], "x".join(map(str, row["out_shape"])), f"{row['macs'] / 1e6:.2f}",
            f"{row['weights']:,}", f"{row['bytes'] / 1e3:.1f}", f"{row['ms']:.3f}", f"{100 * row['ms'] / total:.1f}",
        )  # fmt: skip
    fixed = facts["fixed_ms"]
    table.add_row("(any network)", "", "", "", "", "", f"{fixed:.3f}", f"{100 * fixed / total:.1f}")
    Console(width=max(OUT.width, 120)).print(table)  # one line a row, also where that is wider than the screen
