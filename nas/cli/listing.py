"""Tables of what there is: spaces and targets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import new_table, say, show

if TYPE_CHECKING:
    from predictors.targets.card import TargetCard
    from predictors.targets.target import Target
    from search_spaces.space import SearchSpace


def space_row(space: SearchSpace) -> dict[str, Any]:
    return {"name": space.name, "genes": len(space.genes), "subnets": space.size, "source": space.source}


def describe_space(space: SearchSpace, num_classes: int = 1000, in_chans: int = 3) -> dict[str, Any]:
    """Genes, exact number of subnets, and the costs of the smallest and the largest."""
    from predictors.costs.network import architecture_features, costs_of

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
    table = new_table()
    for name in ("space", "genes", "subnets", "source"):
        table.add_column(name, justify="right" if name in ("genes", "subnets") else "left")
    for row in rows:
        table.add_row(row["name"], str(row["genes"]), f"{row['subnets']:.3g}", row["source"])
    show(table)


def print_space(facts: dict[str, Any]) -> None:
    say(f"{facts['name']}: {facts['source']}\n{facts['subnets']:,} subnets")
    table = new_table("gene", "choices")
    for name, choices in facts["choices"].items():
        table.add_row(name, ", ".join(map(str, choices)))
    show(table)
    for name, costs in facts["costs"].items():
        fp32, int8 = costs["fp32"], costs["int8"]
        say(
            f"{name}: {fp32['macs'] / 1e6:.2f} MMACs, {fp32['params']:,} parameters, "
            f"{fp32['size_bytes'] / 1e6:.2f} MB fp32, {int8['size_bytes'] / 1e6:.2f} MB int8, "
            f"{int8['peak_activation_bytes'] / 1e3:.0f} kB int8 activations "
            f"({facts['classes']} classes, {facts['in_chans']} channels)"
        )


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


def print_targets(rows: list[dict[str, Any]]) -> None:
    """A paragraph a target: labels and devices are long, and a table of them is mostly broken lines."""
    for row in rows:
        say(f"{row['name']}  {row['description']}; {row['runtime']}", bold=len(row["name"]))
        for precision, label in row["latency"].items():
            default = "default" if precision == row["default_precision"] else ""
            say(f"  {precision:<5}{default:<8} {label}")
        if row["memory"]:
            say(f"  {'memory':<13} {memory_line(row['memory'])}")


def print_target(facts: dict[str, Any]) -> None:
    """One target, complete."""
    lines = [f"{facts['name']}: {facts['description']}", f"runtime: {facts['runtime']}"]
    lines.append(f"threads: {facts['threads'] or 'not known'}; exported as {facts['model']}")
    memory = memory_line(facts["memory"]) if facts["memory"] else f"no limits (rules: {facts['memory_rules']})"
    lines.append(f"memory: {memory}" + (f"; {facts['memory_source']}" if facts["memory_source"] else ""))
    for precision, label in facts["latency"].items():
        default = " (default)" if precision == facts["default_precision"] else ""
        lines += ["", f"{precision}{default}: {label}", f"source: {facts['sources'][precision]}"]
        lines += [f"  {line if len(line) <= 110 else line[:107] + '...'}" for line in facts["constants"][precision]]
    say("\n".join(lines))


def print_runs(rows: list[dict[str, Any]], folder: Path) -> None:
    """A paragraph a run: paths and targets are long."""
    if not rows:
        say(f"no run in {folder}")
    for row in rows:
        lines = [f"{row['run']}  {row['space'] or '?'} on {row['source'] or '?'}"]
        steps = f"step {row['step']} of {row['steps'] or '?'}"
        state = {"training": f"training: {steps}", "trained": f"trained, {row['steps']} steps"}
        lines.append(
            f"  {state.get(row['state'], row['problem'])}{'; a command works on it now' if row['busy'] else ''}"
        )
        for key in ("searched", "exported", "finetuned"):
            if row[key]:
                lines.append(f"  {key}: {', '.join(row[key])}")
        say("\n".join(lines), bold=len(row["run"]))


def memory_line(limits: dict[str, Any]) -> str:
    """A device's memory in words."""
    names = {"ram_bytes": "of RAM for activations", "flash_bytes": "of flash for weights"}
    parts = [f"{limits[key] / 1e3:,.0f} kB {words}" for key, words in names.items() if key in limits]
    return f"{', '.join(parts)} (rules: {limits['memory_rules']})"


def print_estimate(facts: dict[str, Any]) -> None:
    """Costs of a network, and where its time goes if that was asked for."""
    side = facts["resolution"]
    image = f"{side} px" if isinstance(side, int) else f"{side[0]} x {side[1]} px"
    say(f"{facts['model']}, {image}, {facts['precision']}, on {facts['target']}")
    if "layers" in facts:
        _print_layers(facts)
    table = new_table("latency ms", "MMACs", "parameters", "size MB", "peak activations MB")
    table.add_row(
        f"{facts['latency_ms']:.2f}", f"{facts['macs'] / 1e6:.1f}", f"{facts['params']:,}",
        f"{facts['size_bytes'] / 1e6:.2f}", f"{facts['peak_activation_bytes'] / 1e6:.2f}",
    )  # fmt: skip
    show(table)
    say(f"latency: {facts['latency_source']}; {facts['latency_basis']}")
    limits = facts["memory"]
    if facts["misfits"]:
        say(f"memory: does not fit: {'; '.join(facts['misfits'])}")
    elif limits:
        say(f"memory: fits: {memory_line(limits)}")


def _print_layers(facts: dict[str, Any]) -> None:
    table = new_table()
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
    show(table)
