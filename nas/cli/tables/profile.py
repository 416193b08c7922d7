"""A finished profile as a table."""

from __future__ import annotations

from typing import Any

from nas.cli.console import OUT, new_table, say, show


def print_profile(facts: dict[str, Any]) -> None:
    """A finished profile: how well held-out networks were predicted, by precision."""
    OUT.print(f"wrote {facts['target']}: {facts['description']}; {facts['runtime']}", soft_wrap=True, highlight=False)
    table = new_table("precision", "held-out subnets", "MAPE %", "within 10 %", "Kendall tau", "fitted")
    for precision, fit in facts["precisions"].items():
        table.add_row(
            precision, str(fit["networks"]), f"{fit['mape']:.1f}", f"{fit['within_10']:.0f} %", f"{fit['tau']:.2f}",
            str(fit["fitted"]),
        )  # fmt: skip
    show(table)
    for precision, fit in facts["precisions"].items():
        say(f"{precision} latency: {fit['label']}")
