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
        f"{member['id']}\n{describe_precision(member['precision'])}\n"
        f"search {percent(member['accuracy'])}\ntest {percent(member['test'])}\n"
        f"predicted {100 * guess['mean']:.2f} % ± {100 * guess['std']:.2f}\n"
        f"{member['latency_ms']:.3f} ms, {member['size_bytes'] / 1e3:.1f} kB, {member['macs'] / 1e6:.2f} MMACs"
        f"{elsewhere}\n{describe_genes(member['architecture']['genes'])}"
    )


def describe_precision(policy: str) -> str:
    """A precision policy: ``int8 everywhere``, or ``int8, but w4a8 in blocks.1, blocks.2``."""
    outer, *stages = policy.split(",")
    others: dict[str, list[str]] = {}
    for stage in stages:
        name, _, precision = stage.partition("=")
        others.setdefault(precision, []).append(name)
    parts = [f"{precision} in {', '.join(names)}" for precision, names in others.items()]
    return f"{outer}, but {' and '.join(parts)}" if parts else f"{outer} everywhere"


def describe_genes(genes: Facts) -> str:
    """Choices by stage: ``s1: width 16, depth 2; kernel 3, 5; expand 2, 4``, one stage a line. What blocks choose is
    listed in their order."""
    stages: dict[str, dict[str, list[str]]] = {}
    for name, value in genes.items():
        stage, _, rest = str(name).partition(".")
        block, _, what = rest.partition(".")
        stages.setdefault(stage if rest else "", {}).setdefault(what or block or stage, []).append(str(value))
    lines = []
    for stage, choices in stages.items():
        text = "; ".join(f"{what} {', '.join(values)}" for what, values in choices.items())
        lines.append(f"{stage}: {text}" if stage else text)
    return "\n".join(lines)
