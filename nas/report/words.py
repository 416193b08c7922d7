"""A candidate in words."""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]


def percent(found: Facts) -> str:
    """Accuracy with its 95 % interval."""
    return f"{100 * found['value']:.2f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def describe_member(member: Facts) -> str:
    """A member of a front, some lines."""
    guess = member["predicted_accuracy"]
    elsewhere = "".join(f"\n{ms:.3f} ms on {name}" for name, ms in member["latency_elsewhere_ms"].items())
    return (
        f"{member['id']} ({member['precision']})\n"
        f"search {percent(member['accuracy'])}\ntest {percent(member['test'])}\n"
        f"predicted {100 * guess['mean']:.2f} % ± {100 * guess['std']:.2f}\n"
        f"{member['latency_ms']:.3f} ms, {member['size_bytes'] / 1e3:.1f} kB, {member['macs'] / 1e6:.2f} MMACs"
        f"{elsewhere}\n{describe_genes(member['architecture']['genes'])}"
    )


def describe_genes(genes: Facts) -> str:
    """Choices by stage: ``s1: width 16, depth 2, b0.kernel 3``, one stage a line."""
    stages: dict[str, list[str]] = {}
    for name, value in genes.items():
        stage, _, rest = str(name).partition(".")
        stages.setdefault(stage if rest else "", []).append(f"{rest or stage} {value}")
    return "\n".join(f"{stage}: {', '.join(parts)}" if stage else ", ".join(parts) for stage, parts in stages.items())
