"""Tables of what there is: spaces, targets, runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.console import new_table, say, show
from nas.store.words import count_of

if TYPE_CHECKING:
    from nas.store.status import RunStatus
    from nas.workflows.describe import SpaceDescription, SpaceSummary, TargetDescription, TargetSummary

_SHOWN = 3  # dimensions of a tensor that stay for the same reason


def print_spaces(rows: Sequence[SpaceSummary]) -> None:
    table = new_table()
    for name in ("space", "genes", "subnets", "source"):
        table.add_column(name, justify="right" if name in ("genes", "subnets") else "left")
    for row in rows:
        table.add_row(row.name, str(row.genes), f"{row.subnets:.3g}", row.source)
    show(table)


def print_space(space: SpaceDescription) -> None:
    say(f"{space.name}: {space.source}\n{space.subnets:,} subnets")
    table = new_table("gene", "choices")
    for name, choices in space.choices.items():
        table.add_row(name, ", ".join(map(str, choices)))
    show(table)
    if space.stays:
        say("what stays as it is, and why:")
    for reason, names in space.stays.items():
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        say(f"  {reason}{': ' if names else ''}{', '.join(names[:_SHOWN])}{more}")
    for name, costs in space.costs.items():
        fp32, int8 = costs["fp32"], costs["int8"]
        say(
            f"{name}: {fp32.macs / 1e6:.2f} MMACs, {fp32.params:,} parameters, "
            f"{fp32.size_bytes / 1e3:,.1f} kB fp32, {int8.size_bytes / 1e3:,.1f} kB int8, "
            f"{int8.peak_activation_bytes / 1e3:,.1f} kB int8 activations "
            f"({space.classes} classes, {space.in_chans} channels)"
        )


def print_targets(rows: Sequence[TargetSummary]) -> None:
    """A paragraph per target: labels and devices are long, and a table of them is mostly broken lines."""
    for row in rows:
        say(f"{row.name}  {row.description}; {row.runtime}", bold=len(row.name))
        for precision, label in row.latency.items():
            default = "default" if precision == row.default_precision else ""
            known = f"; of {row.measured[precision]}" if precision in row.measured else ""
            say(f"  {precision:<5}{default:<8} {label}{known}")
        if row.memory:
            say(f"  {'memory':<13} {memory_line(row.memory)}")


def print_target(target: TargetDescription) -> None:
    lines = [f"{target.name}: {target.description}", f"runtime: {target.runtime}"]
    lines.append(f"threads: {target.threads or 'not known'}; exported as {target.model}")
    memory = memory_line(target.memory) if target.memory else f"no limits (rules: {target.memory_rules})"
    lines.append(f"memory: {memory}" + (f"; {target.memory_source}" if target.memory_source else ""))
    for precision, label in target.latency.items():
        default = " (default)" if precision == target.default_precision else ""
        lines += ["", f"{precision}{default}: {label}", f"source: {target.sources[precision]}"]
        if precision in target.measured:
            lines.append(f"measured: networks of {target.measured[precision]}")
        constants = target.constants.get(precision, ())  # a precision that runs as another has none
        lines += [f"  {line if len(line) <= 110 else line[:107] + '...'}" for line in constants]
    say("\n".join(lines))


def print_runs(rows: Sequence[RunStatus], folder: Path) -> None:
    """A paragraph for each run: paths and targets are long."""
    if not rows:
        say(f"no run in {folder}")
    for row in rows:
        lines = [f"{row.run}  {row.space or '?'} on {row.source or '?'}"]
        steps = f"step {row.step} of {row.steps or '?'}"
        state = {"training": f"training: {steps}", "trained": f"trained, {count_of(row.steps or 0, 'step')}"}
        lines.append(f"  {state.get(row.state, row.problem)}{'; a command works on it now' if row.busy else ''}")
        parts = (("searched", row.searched), ("exported", row.exported), ("finetuned", row.finetuned))
        lines += [f"  {what}: {', '.join(names)}" for what, names in parts if names]
        say("\n".join(lines), bold=len(row.run))


def memory_line(limits: Mapping[str, int | str]) -> str:
    """A device's memory in words."""
    names = {"ram_bytes": "of RAM for activations", "flash_bytes": "of flash for weights"}
    parts = [f"{int(limits[key]) / 1e3:,.0f} kB {words}" for key, words in names.items() if key in limits]
    return f"{', '.join(parts)} (rules: {limits['memory_rules']})"
