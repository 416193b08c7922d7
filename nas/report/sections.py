"""The parts of a report about the run as a whole."""

from __future__ import annotations

import platform
from xml.etree.ElementTree import Element

from nas.events import Evaluated, Stepped
from nas.report.draw.genes import plot_sensitivity
from nas.report.draw.markup import figure, note, pairs, table, tag
from nas.report.draw.plots import plot_accuracies, plot_losses
from nas.runtimes.table import RUNTIMES
from nas.search.objectives import LATENCY, MACS
from nas.store.hints import hint
from nas.store.versions import NAS, in_words, version
from search_spaces.schema import Json

from .gather import Material
from .words import percent

_RUNTIMES = tuple(name for entry in RUNTIMES.values() for name in entry.packages)
PACKAGES = (NAS, "torch", "timm", "numpy", "optuna", "pymoo", *_RUNTIMES)
_CLASSES = 40
"""Names of classes that are shown."""


def describe_training(material: Material) -> list[Element]:
    """The loss, and the accuracy of the subnets that were watched."""
    last = max((entry.step for entry in material.metrics), default=0)
    finished = f"Trained for {material.record.steps} steps."
    state = finished if material.record.complete else f"Training is not finished: step {last}."
    losses = [entry for entry in material.metrics if isinstance(entry, Stepped)]
    accuracies = [entry for entry in material.metrics if isinstance(entry, Evaluated)]
    names = list(dict.fromkeys(name for entry in accuracies for name in entry.accuracies))
    plots = []
    if names:
        caption = (
            f"Accuracy of some subnets ({', '.join(names)}), in fp32, on part of the search split."
            f"{' The random one was drawn by the seed.' if 'random' in names else ''}"
        )
        plots.append(figure(plot_accuracies(accuracies, names), caption))
    if losses:
        plots.append(figure(plot_losses(losses), "Loss on training batches; in long runs, averaged over steps."))
    return [tag("h2", "Training", id="training"), tag("p", state), tag("div", *plots, class_="pair")]


def describe_sensitivity(material: Material) -> list[Element]:
    """What each smaller choice costs the supernet, gene by gene; nothing where it wasn't measured."""
    found = material.sensitivity
    if found is None:
        return []
    again = hint("spaces", run=material.path)
    parts = [tag("h2", "Where the accuracy goes", id="sensitivity")]
    if found.weights != material.record.weights:
        return [*parts, note(f"The supernet's weights changed since this was measured; measure it again: {again}")]
    if not found.complete:
        return [*parts, note(f"Not every choice is measured yet; measure the rest: {again}")]
    whole = percent(found.largest.accuracy)
    text = (
        f"The largest subnet with one gene down, everything else whole; {whole} without that. Batch norm is calibrated "
        f"for each, nothing is trained. {found.images} images of the search split, the same for all, in fp32: one "
        f"image is {100 / found.images:.2f} points, and smaller differences mean nothing."
    )
    head = ["gene", "from", "to", "accuracy, %", "lost, points", MACS.header, "saved, %"]
    timed = found.largest.latency_ms is not None
    rows: list[list[Element | str]] = [
        [row.gene, f"{row.largest:g}", f"{row.choice:g}", f"{100 * row.accuracy.value:.2f}", f"{100 * row.lost:.2f}",
         MACS.text(row.macs), f"{100 * found.saved(row):.1f}",
         *([] if row.latency_ms is None else [LATENCY.text(row.latency_ms)])]
        for row in found.rows
    ]  # fmt: skip
    columns = [*head, f"{LATENCY.header} ({found.target})"] if timed else head
    listed = tag("details", tag("summary", "All choices"), table("Where the accuracy goes", columns, rows))
    return [*parts, figure(plot_sensitivity(found), text), listed] if found.rows else []


def describe_settings(material: Material) -> list[Element]:
    """The data, and the settings of the training and the searches."""
    data = material.record.data
    classes = ", ".join(data.classes[:_CLASSES]) + (", ..." if len(data.classes) > _CLASSES else "")
    facts: dict[str, Json] = {
        "source": data.source,
        "classes": f"{len(data.classes)}: {classes}",
        "images": ", ".join(f"{n} {split}" for split, n in data.counts.items()),
        "channels": data.in_chans,
        "mean": list(data.mean),
        "standard deviation": list(data.std),
    }
    blocks = {"Training": material.record.config}
    blocks |= {f"Search for {name}": result.config for name, result in material.searches.items()}
    return [
        tag("h2", "Configuration", id="configuration"), tag("h3", "Data"), pairs("Data", facts),
        *(tag("details", tag("summary", name), pairs(name, settings)) for name, settings in blocks.items()),
    ]  # fmt: skip


def describe_provenance(material: Material) -> list[Element]:
    """Versions, hashes, exported files."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    hashes = {
        "supernet.safetensors": material.record.weights or "not trained to the end",
        "data": material.record.data.fingerprint,
        **{f"supernet at the search for {name}": result.weights for name, result in material.searches.items()},
        **{f"export/{each.folder}/{file}": hashed for each in material.exports for file, hashed in each.hashes.items()},
    }
    made = {"training": in_words(material.record.versions)}
    made |= {f"search for {name}": in_words(result.versions) for name, result in material.searches.items()}
    parts = [
        tag("h2", "Versions and hashes", id="versions"),
        tag("h3", "Versions that wrote this report"), pairs("Versions", versions),
        tag("h3", "Versions that made the run"), pairs("Versions of the run", made),
        tag("h3", "Hashes (SHA-256, first digits)"), pairs("Hashes", hashes),
    ]  # fmt: skip
    if material.exports:
        rows: list[list[Element | str]] = [
            [each.folder, result.what, result.split, percent(result.accuracy), str(result.accuracy.images)]
            for each in material.exports
            for result in each.manifest.results
        ]
        head = ["folder", "network", "split", "accuracy", "images"]
        parts += [tag("h3", "Exported"), table("Exported", head, rows)]
    return parts
