"""The part of a report about one search."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from nas.report.draw.markup import figure, note, pairs, table, tag
from nas.report.draw.plots import costs_of, fidelity_plot, front_plot, growth_plot

from .gather import Material
from .protocol import protocol
from .winners import anchor, drawn, roles_of
from .words import describe_member, describe_precision, percent

Facts = dict[str, Any]


def search(material: Material, name: str) -> list[Element]:
    """All about the search for one target, but the drawings of its networks."""
    result = material.searches[name]
    front, target = result["front"], result["target"]["name"]
    found = [tag("h2", f"Target {target}", id=f"target-{name}"), tag("p", _summary(result))]
    if result["weights"] != material.content.weights:
        found.append(note("The supernet's weights changed since this search; search again: nas search"))
    text = (
        f"{len(front)} networks, all measured, that none beats in {_and(result['objectives'])} at once; each point "
        "with what it scored on the test split. Point at one, touch it, or walk with the arrow keys."
    )
    costs = costs_of(result)
    captions = [text, *(f"The same networks against {cost.axis.partition(',')[0]}." for cost in costs[1:])]
    plots = [figure(front_plot(name, result, cost), caption) for cost, caption in zip(costs, captions, strict=True)]
    growth = (
        "Hypervolume: the share of the box up to the reference (see the protocol) that the measured candidates "
        "dominate. Higher is better."
    )
    plots.append(figure(growth_plot(name, result), growth))
    fidelity = fidelity_plot(name, result)
    if fidelity is not None:
        plots.append(figure(fidelity, "What the accuracy predictor said of candidates before they were measured."))
    return [*found, tag("div", *plots, class_="pair"), *_front_table(result, name), *_fidelity(result["predictor"])]


def method(material: Material, name: str) -> list[Element]:
    """The protocol of one search."""
    facts = protocol(material.searches[name], material.seconds)
    return [tag("h3", "Protocol of the search"), pairs("Protocol of the search", facts)]


def overview(material: Material, names: list[str]) -> list[Element]:
    """The winners for all targets."""
    rows: list[list[Element | str]] = []
    for name in names:
        result = material.searches[name]
        members = {member["id"]: member for member in result["front"]}
        for each, roles in roles_of(result).items():
            member = members[each]
            what = f"{result['target']['name']}: {' and '.join(roles)}"
            link = tag("a", member["id"], href=f"#{anchor(name, member)}")
            rows.append(
                [what, f"{100 * member['test']['value']:.2f}", f"{member['latency_ms']:.3f}",
                 f"{member['size_bytes'] / 1e3:.1f}", link, describe_precision(member["precision"])]
            )  # fmt: skip
    head = ["", "test accuracy, %", "ms", "kB", "candidate", "precision"]
    return [tag("h2", "Winners"), table("Winners", head, rows)] if rows else []


def _summary(result: Facts) -> str:
    counts = result["measurements"]
    random = result["baselines"].get("random")
    alone = "without those " if counts["prior"] else ""
    beside = f"; random search {alone}reached {random['hypervolume']:.4f} with as many measurements" if random else ""
    gain = result["gain_over_random"]
    above = (
        ""
        if gain is None
        else f" The front is {100 * gain:+.2f} points of accuracy against random subnets of equal cost."
    )
    prior = f", beside {counts['prior']} known from before" if counts["prior"] else ""
    return (
        f"{counts['new']} candidates were measured{prior}: hypervolume {result['hypervolume']:.4f}{beside}.{above} "
        f"Latency: {result['target']['latency']}."
    )


def _and(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _front_table(result: Facts, name: str) -> list[Element]:
    members = sorted(result["front"], key=lambda m: m["latency_ms"])
    linked, roles = {member["id"] for member in drawn(result)}, roles_of(result)
    mixed = any("=" in member["precision"] for member in members)
    rows: list[list[Element | str]] = [
        [_name(member, f"#{anchor(name, member)}" if member["id"] in linked else None, roles.get(member["id"], [])),
         percent(member["accuracy"]), percent(member["test"]),
         f"{100 * member['predicted_accuracy']['mean']:.2f} ± {100 * member['predicted_accuracy']['std']:.2f} %",
         f"{member['latency_ms']:.3f}",
         *(f"{member['latency_elsewhere_ms'][name]:.3f}" for name in result["others"]),
         f"{member['size_bytes'] / 1e3:.1f}", f"{member['macs'] / 1e6:.2f}",
         f"{member['peak_activation_bytes'] / 1e3:.1f}", str(member["architecture"]["genes"]["resolution"]),
         *([describe_precision(member["precision"])] if mixed else [])]
        for member in members
    ]  # fmt: skip
    head = ["candidate", "search split (95 %)", "test split (95 %)", "predicted", "latency, ms",
            *(f"ms on {name}" for name in result["others"]), "size, kB", "MMACs", "peak, kB", "image, px",
            *(["precision"] if mixed else [])]  # fmt: skip
    tips = [(member["id"], describe_member(member)) for member in members]
    return [tag("h3", "Measured front"), table("Measured front", head, rows, tips)]


def _name(member: Facts, link: str | None, roles: list[str]) -> Element:
    """A member's id, which leads to its drawing where there is one, and what it is the best of."""
    found = tag("a", member["id"], href=link) if link else tag("span", member["id"])
    return tag("div", found, *(tag("small", each) for each in roles))


def _fidelity(found: Facts) -> list[Element]:
    """How the accuracy predictor did, beside log MACs alone."""
    rows: list[list[Element | str]] = []
    parts = [
        ("left out one by one", "leave_one_out", "log_macs"),
        ("unseen random candidates", "random", "random_log_macs"),
        ("before they were measured", "beforehand", ""),
        ("the front, before it was measured", "front_beforehand", ""),
    ]
    for what, key, beside in parts:
        own = found.get(key) or {"candidates": 0}
        if own.get("candidates") == 0:
            continue
        count, macs = own.get("candidates", found["candidates"]), found[beside] if beside else {}
        rows.append([what, str(count), *(_figure(own.get(k)) for k in ("tau", "tau_best")), _points(own.get("rmse")),
                     _points(own.get("bias"), "+"), *(_figure(macs.get(k)) for k in ("tau", "tau_best")),
                     _points(macs.get("rmse"))])  # fmt: skip
    head = ["accuracy predictor", "candidates", "Kendall tau", "tau, best 30 %", "RMSE, points", "bias, points",
            "log MACs: tau", "tau, best 30 %", "RMSE, points"]  # fmt: skip
    text = f"Predictor: {found['choice']}. Beside it, what the logarithm of the MACs alone tells."
    return [tag("h3", "Predictor fidelity"), tag("p", text), table("Predictor fidelity", head, rows)]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _points(value: float | None, sign: str = "") -> str:
    """A share as points of accuracy."""
    return "" if value is None else f"{100 * value:{sign}.2f}"
