"""The networks of a front: a drawing of each, and the time of its operators."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from nas.report.draw.blocks import draw_blocks, find_blocks
from nas.report.draw.markup import figure, note, table, tag, wide
from nas.report.draw.plots import plot_layers
from nas.search.objectives import SIZE
from nas.store.hints import hint
from nas.store.results import Member, SearchResult
from nas.workflows.estimate import Estimate
from nas.workflows.resolve import pick_member
from search_spaces.errors import UserError

from .gather import Material, estimate_member
from .words import describe_genes, describe_precision, percent

ROLES = {"best": "most accurate", "fastest": "fastest", "smallest": "smallest"}
"""Words of the command line for members of a front, and what they are called in the report."""

_DRAWN = 24
_SLOWEST = 8
_OPERATORS = 1500
"""If all networks together have more operators, only some get a plot of theirs, so that the page stays small."""


def choose_drawn(result: SearchResult) -> list[Member]:
    """Members of a front that are drawn, by their latency: all, or some at even steps and the winners."""
    front = sorted(result.front, key=lambda member: member.latency_ms)
    winners = name_roles(result)
    steps = {round(i * (len(front) - 1) / (_DRAWN - 1)) for i in range(_DRAWN)}
    return [member for i, member in enumerate(front) if i in steps or member.id in winners]


def anchor(name: str, member: Member) -> str:
    """The id of a member's drawing in the page."""
    return f"{name}.{member.id}"


def draw_front(material: Material, name: str) -> list[Element]:
    """Drawings of the front's members, each with its operators."""
    result = material.shipped(name)
    members = choose_drawn(result)
    try:
        costs = {member.id: estimate_member(material, result, member) for member in members}
    except UserError as error:
        return [tag("h3", "Architectures"), note(f"They cannot be drawn: {error}")]
    roles = name_roles(result)
    detailed = set(roles)
    if sum(len(each.layers or ()) for each in costs.values()) <= _OPERATORS:
        detailed = set(costs)
    left_out = f" {len(members)} of {len(result.front)} are drawn." if len(members) < len(result.front) else ""
    more = hint("estimate", "ID", layers=True)
    elsewhere = "" if len(detailed) == len(costs) else f" For the operators of another: {more}."
    text = (
        "Each box is a block of the network. Its height grows with the root of its channels; its number and colour are "
        "the side of its depthwise kernel (grey: it has none). Below the first block of a stage: channels and side of "
        f"its output, and its precision if the network has several.{left_out}{elsewhere}"
    )
    figures = [
        _network(name, member, costs[member.id], member.id in detailed, roles.get(member.id, [])) for member in members
    ]
    return [tag("h3", "Architectures on the front"), tag("p", text), tag("div", *figures, class_="pair")]


def name_roles(result: SearchResult) -> dict[str, list[str]]:
    """What the winners of a front are best in, by their id."""
    roles: dict[str, list[str]] = {}
    for word, role in ROLES.items():
        roles.setdefault(pick_member(result, word).id, []).append(role)
    return roles


def _network(name: str, member: Member, costs: Estimate, detailed: bool, roles: list[str]) -> Element:
    layers = costs.layers or ()
    facts = (
        f"{percent(member.test)} on the test split, {member.latency_ms:.3f} ms, "
        f"{SIZE.text(SIZE.of(member))} {SIZE.header}, image of {costs.resolution} px, "
        f"{describe_precision(member.precision)}"
    )
    genes = "; ".join(describe_genes(dict(member.architecture.genes)).split("\n"))
    title = f"Architecture of {member.id}"
    operators = tag("details", tag("summary", f"Where its {costs.latency_ms:.3f} ms go"), *_show_layers(costs))
    return tag(
        "figure",
        tag("figcaption", tag("b", f"{member.id}{': ' if roles else ''}{', '.join(roles)}"), tag("br"), facts),
        wide(title, draw_blocks(title, find_blocks(layers))),
        tag("figcaption", genes),
        operators if detailed else None,
        id=anchor(name, member),
    )


def _show_layers(estimate: Estimate) -> list[Element]:
    layers = estimate.layers or ()
    caption = (
        f"{estimate.latency_ms:.3f} ms in all ({estimate.latency_source}), of which "
        f"{estimate.fixed_ms:.3f} ms are the same for any network."
    )
    total = estimate.latency_ms or 1.0
    rows: list[list[Element | str]] = [
        [row.path or "(the network itself)", row.kind, " x ".join(map(str, row.out_shape)),
         f"{row.macs / 1e6:.3f}", f"{row.ms:.4f}", f"{100 * row.ms / total:.1f}"]
        for row in sorted(layers, key=lambda row: -row.ms)[:_SLOWEST]
    ]  # fmt: skip
    head = ["slowest operators", "kind", "output", "MMACs", "ms", "% of ms"]
    return [figure(plot_layers(layers), caption), table("Slowest operators", head, rows)]
