"""Costs of a network, and a finished profile, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.cli.console import new_table, say, show, tell

from .listing import memory_line

if TYPE_CHECKING:
    from nas.workflows.estimate import Estimate, Layer
    from nas.workflows.profile import Profile


def print_estimate(estimate: Estimate) -> None:
    """Costs of a network, and where its time goes if that was asked for."""
    side = estimate.resolution
    image = f"{side} px" if isinstance(side, int) else f"{side[0]} x {side[1]} px"
    say(f"{estimate.model}, {image}, {estimate.precision}, on {estimate.target}")
    if estimate.layers is not None:
        _print_layers(estimate, estimate.layers)
    table = new_table("latency ms", "MMACs", "parameters", "size kB", "peak activations kB")
    table.add_row(
        f"{estimate.latency_ms:.2f}", f"{estimate.macs / 1e6:.1f}", f"{estimate.params:,}",
        f"{estimate.size_bytes / 1e3:,.1f}", f"{estimate.peak_activation_bytes / 1e3:,.1f}",
    )  # fmt: skip
    show(table)
    say(f"latency: {estimate.latency_source}; {estimate.latency_basis}")
    if estimate.misfits:
        say(f"memory: does not fit: {'; '.join(estimate.misfits)}")
    elif estimate.memory:
        say(f"memory: fits: {memory_line(estimate.memory)}")


def _print_layers(estimate: Estimate, layers: tuple[Layer, ...]) -> None:
    table = new_table()
    table.add_column("path", no_wrap=True)
    for name in ("kind", "output", "MMACs", "weights", "kB moved", "ms", "% of ms"):
        table.add_column(name, justify="left" if name in ("kind", "output") else "right", no_wrap=True)
    total = estimate.latency_ms or 1.0
    for row in layers:
        table.add_row(
            row.path, row.kind, "x".join(map(str, row.out_shape)), f"{row.macs / 1e6:.2f}", f"{row.weights:,}",
            f"{row.bytes / 1e3:.1f}", f"{row.ms:.3f}", f"{100 * row.ms / total:.1f}",
        )  # fmt: skip
    fixed = estimate.fixed_ms
    table.add_row("(any network)", "", "", "", "", "", f"{fixed:.3f}", f"{100 * fixed / total:.1f}")
    show(table)


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
        say(f"{precision} latency: {fit.label}, for networks of {fit.measured}")
