"""The page about timm's names, from the rows of a walk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from .timm_checks import PERMUTED, REBUILT, Row

WORKS = ("ran", "shapes")
CLOSE = 1e-9
"""What another order of channels may change, unless a model computes parts in single precision."""


def summary(rows: Iterable[Row]) -> list[str]:
    """Lines about differences and times."""
    working = [row for row in rows if row.status in WORKS]
    rebuilt = [row.rebuilt for row in working if row.rebuilt is not None]
    orders = [row.permuted for row in working if row.permuted is not None]
    if not (working and rebuilt and orders):
        return []
    times = sorted(working, key=lambda row: row.derive)
    close = sum(order <= CLOSE for order in orders)
    return [
        f"{sum(each == 0 for each in rebuilt)} of {len(rebuilt)} are their rebuilt forms to the bit, all to "
        f"{max(rebuilt):.0e}",
        f"another order of channels: {close} of {len(orders)} to {CLOSE:.0e}, all to {max(orders):.0e}",
        f"a space takes {median(row.derive for row in times):.1f} s of processor time (median), "
        f"{times[-1].derive:.1f} s at most ({times[-1].name})",
    ]


def markdown(rows: Mapping[str, Row], names: Sequence[str], version: str, limit: float) -> str:
    """The page: what was checked how, and every name with its result."""
    known = [rows[name] for name in names if name in rows]
    works = [row for row in known if row.status in WORKS]
    ran = [row for row in works if row.status == "ran"]
    rest = [name for name in names if name not in rows]
    first = [row for row in ran if row.permuted is not None]
    orders = sum((row.permuted or 0) <= CLOSE for row in first)
    exact = sum(row.rebuilt == 0 for row in ran)
    lines = [
        "# timm models that become a supernet",
        "",
        f"timm {version} has {len(names):,} names. `--space timm:NAME` gives a working supernet for "
        f"**{len(works):,} of the {len(known):,}** that were tried"
        + (f"; {len(rest):,} were not. " if rest else ". ")
        + "Made by `benchmarks/spaces/timm_models.py`. What was checked, of the space that the name alone stands for:",
        "",
        "| names | checked |",
        "|---|---|",
        f"| {len(ran):,}, of up to {limit:g} million parameters | The largest subnet gives what the plain model gives, "
        "to the bit. The smallest runs. Three random ones give what the networks give that are built anew and get the "
        f"extracted weights ({exact:,} names to the bit, the others to {REBUILT:.0e} of the largest output). For one "
        "of them, every parameter has the same gradient in the supernet. One image, on the smallest side that the "
        "plain model takes. |",
        f"| {len(first)} of these, the smallest of each class | On images of the model's own side. All channels, heads "
        "and groups that a subnet may lose, in another order, give the same output in double precision (to "
        f"{CLOSE:.0e}"
        + (
            f" for {orders}, to {PERMUTED:.0e} where the model computes parts in single precision"
            * (orders < len(first))
        )
        + "). Most other names are variants of these classes. |",
        f"| {len(works) - len(ran):,} larger ones, marked * | Without values: the smallest and three random subnets "
        "have the shapes that are foretold, and every tensor of theirs is a part of the supernet's. |",
        "",
        "A space without a family of its own was found by [running the model once](spaces.md#any-model); its smallest "
        "and some random networks were run to see that they compute as foretold.",
        "",
    ]
    for family in sorted({row.family for row in works}, key=lambda family: (family == "Any", family)):
        mine = sorted(row.name + "*" * (row.status == "shapes") for row in works if row.family == family)
        title = "Any model" if family == "Any" else family
        lines += [f"## {title} ({len(mine):,})", "", ", ".join(mine), ""]
    lines += _others([row for row in known if row.status not in WORKS])
    if rest:
        lines += [f"## Not tried ({len(rest):,})", "", "Every name that does not stand above.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _others(rows: Sequence[Row]) -> list[str]:
    """Names that give no supernet, by reason."""
    if not rows:
        return []
    reasons = Counter(_reason(row) for row in rows)
    lines = [f"## No supernet ({len(rows)})", "", "| names | why |", "|---|---|"]
    for reason, _ in reasons.most_common():
        mine = sorted(row.name for row in rows if _reason(row) == reason)
        lines.append(f"| {', '.join(mine)} | {reason} |")
    return [*lines, ""]


def _reason(row: Row) -> str:
    text = row.why.split("not supported because ", 1)[-1].replace("|", "/")
    return text if row.status == "refused" else f"{row.status}: {text}"
