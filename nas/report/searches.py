"""The part of a report about one search: what it found, how it was done, and what its figures rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from nas.report.draw.markup import figure, note, pairs, table, tag
from nas.report.draw.plots import list_costs, plot_fidelity, plot_front, plot_growth
from nas.search.config import SearchConfig
from nas.search.objectives import LATENCY, OBJECTIVES, SIZE, latency_on, with_unit
from nas.store.hints import hint
from nas.store.results import AccuracyRecord, Fidelity, Foresight, Member, Ranking, SearchResult
from nas.store.tuned import TunedMember
from nas.store.versions import in_words
from search_spaces.schema import convert

from .gather import Material, Seconds
from .winners import anchor, choose_drawn, name_roles
from .words import describe_member, describe_precision, percent, predicted_percent

_EXPECTED = {"random": "random", "uniform": "random,uniform"}
"""Baselines that a reader looks for, and the setting that measures them."""


def describe_search(material: Material, name: str) -> list[Element]:
    """All about the search for one target, except the drawings of its networks; its protocol is the last two."""
    result, tuned = material.searches[name], material.tuned_of(name)
    parts = [tag("h2", f"Target {result.target.name}", id=f"target-{name}"), tag("p", _summarise(result))]
    if result.weights != material.record.weights:
        again = hint("search", run=material.path, target=name)
        parts.append(note(f"The supernet's weights changed since this search; search again: {again}"))
    text = (
        f"{len(result.front)} networks, all measured, that no other beats in {_join(result.objectives)} at once; each "
        "point with its accuracy on the test split. Point at one, touch it, or move with the arrow keys."
    )
    if tuned:
        text += f" A line leads from a member to itself, fine-tuned: {len(tuned)} ship with these weights."
    costs = list_costs(result)
    captions = [text, *(f"The same networks against {cost.objective.axis}." for cost in costs[1:])]
    plots = [
        figure(plot_front(name, result, cost, tuned), caption) for cost, caption in zip(costs, captions, strict=True)
    ]
    growth = (
        "Hypervolume: the share of the box up to the reference (see the protocol) that the measured candidates "
        "dominate. Higher is better."
    )
    plots.append(figure(plot_growth(name, result), growth))
    fidelity = plot_fidelity(name, result)
    if fidelity is not None:
        plots.append(figure(fidelity, "Predictions of the accuracy of candidates, made before they were measured."))
    parts += [
        tag("div", *plots, class_="pair"),
        *_list_front(material, name),
        *_list_whole(material.shipped(name)),
        *_judge_predictor(result.predictor),
    ]
    protocol = pairs("Protocol of the search", describe_protocol(result, material.seconds))
    return [*parts, tag("h3", "Protocol of the search"), protocol]


def list_winners(material: Material, names: list[str]) -> list[Element]:
    """The best members of the fronts of all targets."""
    rows: list[list[Element | str]] = []
    for name in names:
        result = material.shipped(name)
        members = {member.id: member for member in result.front}
        for each, roles in name_roles(result).items():
            member = members[each]
            rows.append(
                [f"{result.target.name}: {' and '.join(roles)}", f"{100 * member.test.value:.2f}",
                 *(row.text(row.of(member)) for row in (LATENCY, SIZE)),
                 tag("a", member.id, href=f"#{anchor(name, member)}"), describe_precision(member.precision)]
            )  # fmt: skip
    head = ["", "test accuracy, %", LATENCY.header, SIZE.header, "candidate", "precision"]
    return [tag("h2", "Winners"), table("Winners", head, rows)] if rows else []


def _summarise(result: SearchResult) -> str:
    counts, random, gain = result.measurements, result.baselines.get("random"), result.gain_over_random
    prior = f", beside {counts.prior} known before" if counts.prior else ""
    baseline = above = ""
    if random:
        without = "without those " if counts.prior else ""
        baseline = f"; random search {without}reached {random.hypervolume:.4f} with as many measurements"
    if gain is not None:
        above = f" The front is {100 * gain:+.2f} points of accuracy above random subnets of equal cost."
    marked = ", marked ~" if any(member.latency_outside for member in result.front) else ""
    return (
        f"{counts.new} candidates were measured{prior}: hypervolume {result.hypervolume:.4f}{baseline}.{above} "
        f"Latency: {result.target.latency}{marked}."
    )


def _join(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _list_front(material: Material, name: str) -> list[Element]:
    result, shipped, tuned = material.searches[name], material.shipped(name), material.tuned_of(name)
    members = sorted(result.front, key=lambda member: member.latency_ms)
    linked, roles = {member.id for member in choose_drawn(shipped)}, name_roles(shipped)
    costs = [LATENCY, *map(latency_on, result.others), *(row for row in OBJECTIVES.values() if row is not LATENCY)]
    mixed = any("=" in member.precision for member in members)
    rows: list[list[Element | str]] = [
        [_name(member, f"#{anchor(name, member)}" if member.id in linked else None, roles.get(member.id, [])),
         percent(member.accuracy), percent(member.test),
         *(_tuned_cells(tuned.get(member.id)) if tuned else []), predicted_percent(member),
         *(row.cell(member) for row in costs), str(member.architecture.resolution),
         *([describe_precision(member.precision)] if mixed else [])]
        for member in members
    ]  # fmt: skip
    more = ["fine-tuned: search split", "test split"] if tuned else []
    head = ["candidate", "search split (95 %)", "test split (95 %)", *more, "predicted",
            *(f"{row.title}, {row.unit.name}" for row in costs), "image, px",
            *(["precision"] if mixed else [])]  # fmt: skip
    tips = [(member.id, describe_member(member, tuned.get(member.id))) for member in members]
    return [tag("h3", "Measured front"), table("Measured front", head, rows, tips)]


def _tuned_cells(tuned: TunedMember | None) -> list[str]:
    """What fine-tuning made of a member; nothing where its weights are the supernet's still."""
    if tuned is None:
        return ["", ""]
    return [percent(tuned.after), percent(tuned.test)]


def _list_whole(result: SearchResult) -> list[Element]:
    """The whole network, fine-tuned, at each resolution: what there would be without a search."""
    if not result.whole:
        return []
    costs = [LATENCY, *(row for row in OBJECTIVES.values() if row is not LATENCY)]
    rows: list[list[Element | str]] = []
    for member in result.whole:
        best = result.best_within(member.latency_ms)
        beside = ["", ""] if best is None else [percent(best.accuracy), percent(best.test)]
        rows.append([str(member.architecture.resolution), percent(member.accuracy), percent(member.test), *beside,
                     *(row.cell(member) for row in costs)])  # fmt: skip
    head = ["image, px", "search split (95 %)", "test split (95 %)", "best of the front at no more latency: search",
            "the same: test", *(f"{row.title}, {row.unit.name}" for row in costs)]  # fmt: skip
    title = "The whole network, fine-tuned, at each resolution"
    return [tag("h3", title), table(title, head, rows)]


def _name(member: Member, link: str | None, roles: list[str]) -> Element:
    """A member's id, which links to its drawing if there is one, and its roles."""
    name = tag("a", member.id, href=link) if link else tag("span", member.id)
    return tag("div", name, *(tag("small", role) for role in roles))


def _judge_predictor(fidelity: Fidelity) -> list[Element]:
    """The accuracy predictor beside log MACs alone."""
    lines: list[tuple[str, Ranking | Foresight | None, Ranking | None]] = [
        ("left out one by one", fidelity.leave_one_out, fidelity.log_macs),
        ("unseen random candidates", fidelity.random, fidelity.random_log_macs),
        ("before they were measured", fidelity.beforehand, None),
        ("the front, before it was measured", fidelity.front_beforehand, None),
    ]
    rows: list[list[Element | str]] = [
        [title, str(fidelity.candidates if guesses.candidates is None else guesses.candidates),
         *_ranking(guesses), _points(guesses.bias if isinstance(guesses, Foresight) else None, "+"), *_ranking(macs)]
        for title, guesses, macs in lines
        if guesses is not None and guesses.candidates != 0
    ]  # fmt: skip
    errors = ["tau, best 30 %", "RMSE, points"]
    head = ["accuracy predictor", "candidates", "Kendall tau", *errors, "bias, points", "log MACs: tau", *errors]
    text = f"Predictor: {fidelity.choice}. Beside it, the logarithm of the MACs alone as a predictor."
    return [tag("h3", "Predictor fidelity"), tag("p", text), table("Predictor fidelity", head, rows)]


def _ranking(guesses: Ranking | Foresight | None) -> list[str]:
    """Kendall's tau, the same among the best, and the root mean squared error."""
    if guesses is None:
        return ["", "", ""]
    best = guesses.tau_best if isinstance(guesses, Ranking) else None
    return [*("" if value is None else f"{value:.2f}" for value in (guesses.tau, best)), _points(guesses.rmse)]


def _points(value: float | None, sign: str = "") -> str:
    """A share as points of accuracy."""
    return "" if value is None else f"{100 * value:{sign}.2f}"


def describe_protocol(result: SearchResult, seconds: Seconds) -> dict[str, str]:
    """Facts about a search, by name, with the time of the measurements in the run's journal. Raises SchemaError,
    UserError: settings that no search of this version has."""
    config, counts = convert(result.config, SearchConfig, "config"), result.measurements
    facts = {
        "latency": result.target.latency,
        **{f"latency on {name}": label for name, label in result.others.items()},
        "objectives": ", ".join(result.objectives),
        "bounds": config.bounds.in_words() or "none",
        "precisions": config.precision.replace(",", ", "),
        "measured": f"{counts.new} different candidates for this search, {counts.prior} known before",
        "reason for the end": result.stopped,
        "hypervolume": f"{result.hypervolume:.4f} of the box between zero and the reference",
        "its reference": ", ".join(with_unit(name, value) for name, value in result.reference.items()),
    }
    for name, other in result.baselines.items():
        facts[_baseline(name)] = f"hypervolume {other.hypervolume:.4f} after {other.measurements} measurements"
    for name, compare in _EXPECTED.items():
        if name not in result.baselines:
            facts[_baseline(name)] = f"not measured; {hint('search', compare=compare)}"
    gain = result.gain_over_random
    facts["gain over random subnets"] = (
        "not known" if gain is None else f"{100 * gain:+.2f} points of accuracy on average, at equal cost"
    )
    for name, end in result.extremes.items():
        costs = (with_unit(cost, value) for cost, value in end.costs.items())
        facts[f"the {name} network"] = ", ".join([percent(end.accuracy), *costs])
    if "," in config.precision:
        plain = sum(member.precision == "int8" for member in result.front)
        facts["int8 everywhere"] = f"{plain} of {len(result.front)} networks on the front"
    facts["test split against search split"] = _compare_splits(result.front)
    facts["spread over seeds"] = f"not known: this is one seed, {config.seed}"
    facts |= {f"seconds of measuring, {split} split": _sum_up(parts) for split, parts in seconds.items() if parts}
    accuracies = (
        f"of the networks as they are shipped: extracted, calibrated on {config.calibration_images} training images, "
        "quantized. Candidates are chosen on the search split; the test split is used once, for the front. Intervals: "
        "95 %, Wilson's."
    )
    return facts | {"versions": in_words(result.versions), "accuracies": accuracies}


def _baseline(name: str) -> str:
    return f"{name}, with as many measurements"


def _compare_splits(front: Sequence[Member]) -> str:
    """How the front does on images it was not chosen by. Its members share their errors, so the standard error is that
    of one member's difference."""
    gaps = [100 * (member.test.value - member.accuracy.value) for member in front]
    errors = [100 * math.hypot(_standard_error(member.test), _standard_error(member.accuracy)) for member in front]
    return (
        f"{sum(gaps) / len(gaps):+.2f} points, mean over the front ({min(gaps):+.2f} to {max(gaps):+.2f}); "
        f"standard error of one difference {max(errors):.2f}"
    )


def _standard_error(accuracy: AccuracyRecord) -> float:
    """Binomial, from the counts."""
    return math.sqrt(accuracy.value * (1 - accuracy.value) / accuracy.images)


def _sum_up(parts: dict[str, tuple[int, float]]) -> str:
    total = sum(spent for _, spent in parts.values())
    each = ", ".join(f"{origin} {spent:.0f} s for {count}" for origin, (count, spent) in parts.items())
    return f"{total:.0f} s for all searches of this run: {each}"
