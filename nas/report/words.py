"""A candidate in words."""

from __future__ import annotations

from collections.abc import Mapping

from nas.search.objectives import LATENCY, MACS, SIZE
from nas.store.results import AccuracyRecord, Member
from nas.store.tuned import TunedMember


def percent(accuracy: AccuracyRecord) -> str:
    return f"{100 * accuracy.value:.2f} % ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"


def predicted_percent(member: Member) -> str:
    """The accuracy that the predictor expects of a member, with its deviation; empty: it wasn't asked."""
    guess = member.predicted_accuracy
    return "" if guess is None else f"{100 * guess.mean:.2f} ± {100 * guess.std:.2f} %"


def describe_member(member: Member, tuned: TunedMember | None = None) -> str:
    """A member of a front, in several lines, and what fine-tuning made of it."""
    guess = predicted_percent(member)
    after = [] if tuned is None else [f"fine-tuned: search {percent(tuned.after)}, test {percent(tuned.test)}"]
    return "\n".join(
        [
            member.id,
            describe_precision(member.precision),
            f"search {percent(member.accuracy)}",
            f"test {percent(member.test)}",
            *after,
            *([f"predicted {guess}"] if guess else []),
            ", ".join(f"{row.text(row.of(member))} {row.header}" for row in (LATENCY, SIZE, MACS)),
            *(f"{ms:.3f} ms on {name}" for name, ms in (member.latency_elsewhere_ms or {}).items()),
            describe_genes(dict(member.architecture.genes)),
        ]
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


def describe_genes(genes: Mapping[str, float]) -> str:
    """Genes by stage, a stage per line: ``s1: width 16, depth 2; kernel 3, 5; expand 2, 4``. Genes of blocks are listed
    in the order of the blocks."""
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
