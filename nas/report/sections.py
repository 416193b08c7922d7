"""The parts of a report, each from the files of the run alone."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from search_spaces.errors import UserError

from ..workflow import pick_member
from .blocks import blocks_of, draw
from .gather import Material, estimated
from .markup import table, tag
from .plots import curves, front_plot, growth_plot, layers_plot
from .words import describe_genes, percent

Facts = dict[str, Any]

PACKAGES = ("nas-supernet", "torch", "timm", "numpy", "optuna", "pymoo", "onnxruntime")
_DRAWN = 24
_SLOWEST = 8


def training(material: Material) -> list[Element]:
    """Loss, and accuracy of the watched subnets."""
    steps, done = material.content.get("steps"), material.content["complete"]
    last = max((entry["step"] for entry in material.metrics), default=0)
    state = f"Trained for {steps} steps." if done else f"Training is not finished: step {last}."
    found = [tag("h2", "Training"), tag("p", state)]
    losses = [entry for entry in material.metrics if "loss" in entry]
    watched = [entry for entry in material.metrics if "loss" not in entry]
    numbers = [k for entry in watched for k, v in entry.items() if isinstance(v, float) and k not in ("step", "steps")]
    keys = list(dict.fromkeys(numbers))
    pair = []
    if keys:
        caption = f"Accuracy on the search split of the subnets watched: {', '.join(keys)}."
        pair.append(_figure(curves(watched, keys, "accuracy, %", 100), caption))
    if losses:
        pair.append(_figure(curves(losses, ["loss"], "loss", 1), "Loss on training batches."))
    return [*found, tag("div", *pair, class_="pair")]


def search(material: Material, name: str) -> list[Element]:
    """All about the search for one target."""
    result = material.searches[name]
    config, front = result["config"], result["front"]
    found = [tag("h2", f"Target {result['target']['name']}, {config['precision']}", id=f"target-{name}")]
    if result["weights"] != material.content.get("weights"):
        found.append(_note("The supernet's weights changed since this search; search again: nas search"))
    found.append(tag("ul", *(tag("li", text) for text in _summary(result))))
    caption = (
        f"{len(front)} measured candidates with 95 % intervals of the search split; diamonds: once on the test split. "
        "Grey: smallest and largest network. Point at one, or touch it."
    )
    growth = "Hypervolume (share of the box up to the reference) after each number of measurements, and of baselines."
    plots = [_figure(front_plot(result), caption), _figure(growth_plot(result), growth)]
    return [*found, tag("div", *plots, class_="pair"), *_front_table(result), *_fidelity(result["predictor"])]


def winners(material: Material, name: str) -> list[Element]:
    """Drawings of the front's members, and where the time of the most accurate goes."""
    result = material.searches[name]
    best, front = pick_member(result, "best"), sorted(result["front"], key=lambda m: m["latency_ms"])
    shown = front[:: -(-len(front) // _DRAWN)]
    shown = shown if best in shown else [*shown, best]
    try:
        costs = {member["id"]: estimated(material, result, member) for member in shown}
    except UserError as error:
        return [tag("h3", "Architectures"), _note(f"They cannot be drawn: {error}")]
    left_out = f", {len(shown)} of {len(front)}" if len(shown) < len(front) else ""
    text = (
        f"Each block of a network is a box: its height grows with the root of its channels, its number and colour are "
        f"the depthwise kernel. Below the first of a stage: channels and side of its result, and its precision where "
        f"a network has several{left_out}."
    )
    found = [tag("h3", "Architectures on the front"), tag("p", text)]
    for member in shown:
        picture = draw(f"Architecture of {member['id']}", blocks_of(costs[member["id"]]["layers"]))
        side = costs[member["id"]]["resolution"]
        heading = f"{member['id']}: {percent(member['accuracy'])}, {member['latency_ms']:.3f} ms, image of {side} px"
        genes = describe_genes(member["architecture"]["genes"]).replace("\n", "; ")
        found.append(tag("figure", tag("figcaption", tag("b", heading), tag("br"), genes),
                         tag("div", picture, class_="wide", tabindex="0")))  # fmt: skip
    return [*found, *_layers(costs[best["id"]], best["id"])]


def _layers(estimate: Facts, name: str) -> list[Element]:
    caption = (
        f"{estimate['latency_ms']:.3f} ms in all ({estimate['latency_source']}), of which "
        f"{estimate['fixed_ms']:.3f} ms are the same for any network."
    )
    slowest = sorted(estimate["layers"], key=lambda row: -row["ms"])[:_SLOWEST]
    total = estimate["latency_ms"] or 1.0
    rows: list[list[Element | str]] = [
        [row["path"], row["kind"], " x ".join(map(str, row["out_shape"])), f"{row['macs'] / 1e6:.3f}",
         f"{row['ms']:.4f}", f"{100 * row['ms'] / total:.1f}"]
        for row in slowest
    ]  # fmt: skip
    head = ["slowest operators", "kind", "result", "MMACs", "ms", "% of ms"]
    pair = tag("div", _figure(layers_plot(estimate), caption), tag("div", table(head, rows)), class_="pair")
    return [tag("h3", f"Where the time of {name} goes"), pair]


def _summary(result: Facts) -> list[str]:
    counts, prior = result["measurements"], result["measurements"]["prior"]
    others = "; ".join(
        f"{name} {b['hypervolume']:.4f} after {b['measurements']}" for name, b in result["baselines"].items()
    )
    corner = ", ".join(f"{name} {_short(value)}" for name, value in result["reference"].items())
    lines = [
        f"Latency: {result['target']['latency']}.",
        *(f"Latency on {name}: {label}." for name, label in result["others"].items()),
        f"{counts['new']} subnets were measured{f', {prior} were known from before' if prior else ''}; "
        f"it ended because {result['stopped']}.",
        f"Objectives: {', '.join(result['objectives'])}. Bounds: {_bounds(result['config']['bounds'])}.",
        f"Hypervolume {result['hypervolume']:.4f}" + (f"; baselines: {others}." if others else "; no baselines."),
        f"Reference of the hypervolume: {corner}.",
    ]
    if result["gain_over_random"] is not None:
        gain = 100 * result["gain_over_random"]
        lines.append(f"The front is {gain:+.2f} points above random subnets of equal cost, on average.")
    lines += [f"The {name} network: {percent(end['accuracy'])}." for name, end in result["extremes"].items()]
    lines.append(
        "Accuracies are those of the networks as they are shipped: extracted, calibrated, quantized; candidates are "
        "chosen on the search split, and the test split is used once, for the front."
    )
    return lines


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _bounds(bounds: Facts) -> str:
    elsewhere = bounds["elsewhere"].items()
    parts = [f"{name} {value:g}" for name, value in bounds.items() if name != "elsewhere" and value is not None]
    return ", ".join([*parts, *(f"{name} {ms:g} ms" for name, ms in elsewhere)]) or "none"


def _front_table(result: Facts) -> list[Element]:
    rows: list[list[Element | str]] = [
        [member["id"], percent(member["accuracy"]), percent(member["test"]),
         f"{100 * member['predicted_accuracy']['mean']:.2f} %", f"{member['latency_ms']:.3f}",
         *(f"{member['latency_elsewhere_ms'][name]:.3f}" for name in result["others"]),
         f"{member['size_bytes'] / 1e3:.1f}", f"{member['macs'] / 1e6:.2f}",
         f"{member['peak_activation_bytes'] / 1e3:.1f}", str(member["architecture"]["genes"]["resolution"])]
        for member in sorted(result["front"], key=lambda m: m["latency_ms"])
    ]  # fmt: skip
    head = ["candidate", "search split", "test split", "predicted", "ms", *(f"ms {name}" for name in result["others"]),
            "kB", "MMACs", "peak kB", "px"]  # fmt: skip
    return [tag("h3", "Measured front"), table(head, rows)]


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
        macs = found[beside]["tau"] if beside else None
        count = own.get("candidates", found["candidates"])
        rows.append([what, str(count), _figures(own.get("tau")), _figures(macs), f"{100 * own['rmse']:.2f}"])
    head = ["accuracy predictor", "candidates", "Kendall tau", "tau of log MACs alone", "RMSE, points"]
    return [tag("h3", "Predictor fidelity"), tag("p", found["choice"]), table(head, rows)]


def _figures(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def settings(material: Material) -> list[Element]:
    """Data, configuration of training and searches."""
    data = material.content["data"]
    classes = ", ".join(map(str, data["classes"][:40])) + (", ..." if len(data["classes"]) > 40 else "")
    counts = ", ".join(f"{n} {split}" for split, n in data["counts"].items())
    facts = {
        "source": data["source"], "classes": f"{len(data['classes'])}: {classes}", "images": counts,
        "channels": data["in_chans"], "mean": data["mean"], "standard deviation": data["std"],
    }  # fmt: skip
    found = [tag("h2", "Configuration"), tag("h3", "Data"), _pairs(facts)]
    blocks = {"Training": material.content["config"]}
    blocks |= {f"Search for {name}": result["config"] for name, result in material.searches.items()}
    found += [tag("details", tag("summary", name), _pairs(content)) for name, content in blocks.items()]
    return found


def provenance(material: Material) -> list[Element]:
    """Versions, hashes, exported files."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    hashes = {"supernet.safetensors": material.content.get("weights", "not trained to the end")}
    hashes |= {"data": material.content["data"]["fingerprint"]}
    hashes |= {f"supernet at the search for {name}": r["weights"] for name, r in material.searches.items()}
    hashes |= {
        f"export/{folder}/{file}": found for folder, _, files in material.exports for file, found in files.items()
    }
    found = [tag("h2", "Versions and hashes"), tag("h3", "Versions that wrote this report"), _pairs(versions)]
    found += [tag("h3", "Hashes (SHA-256, first digits)"), _pairs(hashes)]
    if material.exports:
        rows: list[list[Element | str]] = [
            [folder, result["what"], result["split"], percent(result), str(result["images"])]
            for folder, facts, _ in material.exports
            for result in facts["results"]
        ]
        found += [tag("h3", "Exported"), table(["folder", "what was run", "split", "accuracy", "images"], rows)]
    return found


def version(name: str) -> str:
    """Of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _pairs(facts: Mapping[str, Any]) -> Element:
    found = table([], [[str(key), str(value)] for key, value in facts.items()])
    found.set("class", "wide words")
    return found


def _figure(picture: Element, caption: str) -> Element:
    return tag("figure", picture, tag("figcaption", caption))


def _note(text: str) -> Element:
    return tag("p", text, class_="note")
