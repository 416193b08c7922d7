"""A finished profile as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.cli.console import new_table, say, show, tell

if TYPE_CHECKING:
    from nas.workflows.profile import Profile


def print_profile(profile: Profile) -> None:
    """How well held-out networks were predicted, by precision."""
    tell(f"wrote {profile.target}: {profile.description}; {profile.runtime}")
    table = new_table("precision", "held-out subnets", "MAPE %", "within 10 %", "Kendall tau", "fitted")
    for precision, fit in profile.precisions.items():
        report = fit.report
        table.add_row(
            precision, str(report.networks), f"{report.mape:.1f}", f"{report.within_10:.0f} %", f"{report.tau:.2f}",
            str(fit.fitted),
        )  # fmt: skip
    show(table)
    for precision, fit in profile.precisions.items():
        say(f"{precision} latency: {fit.label}")
