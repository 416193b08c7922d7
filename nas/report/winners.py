"""The networks of a front: a drawing of each, and where its time goes."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from nas.report.draw.blocks import blocks_of, draw
from nas.report.draw.curves import layers_plot
from nas.report.draw.markup import figure, note, table, tag, wide
from nas.store.results import SearchResult
from nas.workflows.estimate import Estimate
from nas.workflows.resolve import pick_member
from search_spaces.errors import UserError
from search_spaces.schema import convert

from .gather import Material, estimated
from .words import describe_genes, describe_precision, percent

Facts = dict[str, Any]

ROLES = {"best": "most accurate", "fastest": "fastest", "smallest": "smallest"}
"""Names that other commands know members of a front by, in words."""

_DRAWN = 24
_SLOWEST = 8
_OPERATORS = 1500
"""Of all networks together, above which only some get a plot of their operators, so that the page stays small."""


def drawn(result: Facts) -> list[Facts]:
    """Members of a front that are drawn, by their latency: all, or some at even steps and the winners."""
    front = sorted(result["front"], key=lambda m: m["latency_ms"])
    winners = roles_of(result)
    steps = {round(i * (len(front) - 1) / (_DRAWN - 1)) for i in range(_DRAWN)}
    return [member for i, member in enumerate(front) if i in steps or member["id"] in winners]


def anchor(name: str, member: Facts) -> str:
    """Of a member's drawing in the page."""
    return f"{name}.{member['id']}"


def winners(material: Material, name: str) -> list[Element]:
    """Drawings of the front's members, each with its operators."""
    result = material.searches[name]
    shown = drawn(result)
    try:
        costs = {member["id"]: estimated(material, result, member) for member in shown}
    except UserError as error:
        return [tag("h3", "Architectures"), note(f"They cannot be drawn: {error}")]
    roles = roles_of(result)
    chosen = set(roles)
    if sum(len(each.layers or ()) for each in costs.values()) <= _OPERATORS:
        chosen = set(costs)
    left_out = f" Drawn are {len(shown)} of {len(result['front'])}." if len(shown) < len(result["front"]) else ""
    elsewhere = "" if len(chosen) == len(costs) else " For the operators of another: nas estimate ID --layers."
    text = (
        "Each box is a block of the network. Its height grows with the root of its channels; its number and colour are "
        "the side of its depthwise kernel (grey: it has none). Below the first block of a stage: channels and side of "
        f"its result, and its precision where the network has several.{left_out}{elsewhere}"
    )
    figures = [
        _network(name, member, costs[member["id"]], member["id"] in chosen, roles.get(member["id"], []))
        for member in shown
    ]
    return [tag("h3", "Architectures on the front"), tag("p", text), tag("div", *figures, class_="pair")]


def roles_of(result: Facts) -> dict[str, list[str]]:
    """What winners are the best of, by their id."""
    found: dict[str, list[str]] = {}
    for role, words in ROLES.items():
        found.setdefault(pick_member(convert(result, SearchResult), role).id, []).append(words)
    return found


def _network(name: str, member: Facts, costs: Estimate, layers: bool, roles: list[str]) -> Element:
    blocks = blocks_of(costs.layers or ())
    heading = f"{member['id']}{': ' if roles else ''}{', '.join(roles)}"
    facts = (
        f"{percent(member['test'])} on the test split, {member['latency_ms']:.3f} ms, "
        f"{member['size_bytes'] / 1e3:.1f} kB, image of {costs.resolution} px, "
        f"{describe_precision(member['precision'])}"
    )
    genes = "; ".join(describe_genes(member["architecture"]["genes"]).split("\n"))
    title = f"Architecture of {member['id']}"
    more = [tag("details", tag("summary", f"Where its {costs.latency_ms:.3f} ms go"), *_layers(costs))]
    return tag(
        "figure",
        tag("figcaption", tag("b", heading), tag("br"), facts),
        wide(title, draw(title, blocks)),
        tag("figcaption", genes),
        *(more if layers else []),
        id=anchor(name, member),
    )


def _layers(estimate: Estimate) -> list[Element]:
    caption = (
        f"{estimate.latency_ms:.3f} ms in all ({estimate.latency_source}), of which "
        f"{estimate.fixed_ms:.3f} ms are the same for any network."
    )
    slowest = sorted(estimate.layers or (), key=lambda row: -row.ms)[:_SLOWEST]
    total = estimate.latency_ms or 1.0
    rows: list[list[Element | str]] = [
        [row.path or "(the network itself)", row.kind, " x ".join(map(str, row.out_shape)),
         f"{row.macs / 1e6:.3f}", f"{row.ms:.4f}", f"{100 * row.ms / total:.1f}"]
        for row in slowest
    ]  # fmt: skip
    head = ["slowest operators", "kind", "result", "MMACs", "ms", "% of ms"]
    return [figure(layers_plot(estimate.layers or ()), caption), table("Slowest operators", head, rows)]
