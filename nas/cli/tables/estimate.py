"""Costs of a network, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from nas.cli.console import new_table, say, show

from .listing import memory_line


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
