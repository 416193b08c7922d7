"""The parts of a report about the run as a whole, each from the files of the run alone."""

from __future__ import annotations

import platform
from xml.etree.ElementTree import Element

from nas.events import Evaluated, Stepped
from nas.report.draw.curves import accuracy_curves, loss_curve
from nas.report.draw.markup import figure, pairs, table, tag
from nas.store.versions import NAS, in_words, version

from .gather import Material
from .words import percent

PACKAGES = (NAS, "torch", "timm", "numpy", "optuna", "pymoo", "onnxruntime")


def training(material: Material) -> list[Element]:
    """Loss, and accuracy of the watched subnets."""
    steps, done = material.content.steps, material.content.complete
    last = max((entry.step for entry in material.metrics), default=0)
    state = f"Trained for {steps} steps." if done else f"Training is not finished: step {last}."
    found = [tag("h2", "Training", id="training"), tag("p", state)]
    losses = [entry for entry in material.metrics if isinstance(entry, Stepped)]
    watched = [entry for entry in material.metrics if isinstance(entry, Evaluated)]
    keys = list(dict.fromkeys(name for entry in watched for name in entry.accuracies))
    plots = []
    if keys:
        caption = (
            f"Accuracy of the subnets that were watched ({', '.join(keys)}), in fp32, on part of the search split."
            f"{' Random: one that the seed drew.' if 'random' in keys else ''}"
        )
        plots.append(figure(accuracy_curves(watched, keys), caption))
    if losses:
        plots.append(figure(loss_curve(losses), "Loss on training batches; of long runs, means of neighbours."))
    return [*found, tag("div", *plots, class_="pair")]


def settings(material: Material) -> list[Element]:
    """Data, configuration of training and searches."""
    data = material.content.data
    classes = ", ".join(map(str, data.classes[:40])) + (", ..." if len(data.classes) > 40 else "")
    counts = ", ".join(f"{n} {split}" for split, n in data.counts.items())
    facts = {
        "source": data.source, "classes": f"{len(data.classes)}: {classes}", "images": counts,
        "channels": data.in_chans, "mean": data.mean, "standard deviation": data.std,
    }  # fmt: skip
    found = [tag("h2", "Configuration", id="configuration"), tag("h3", "Data"), pairs("Data", facts)]
    blocks = {"Training": material.content.config}
    blocks |= {f"Search for {name}": result["config"] for name, result in material.searches.items()}
    found += [tag("details", tag("summary", name), pairs(name, content)) for name, content in blocks.items()]
    return found


def provenance(material: Material) -> list[Element]:
    """Versions, hashes, exported files."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    hashes = {"supernet.safetensors": material.content.weights or "not trained to the end"}
    hashes |= {"data": material.content.data.fingerprint}
    hashes |= {f"supernet at the search for {name}": r["weights"] for name, r in material.searches.items()}
    hashes |= {
        f"export/{folder}/{file}": found for folder, _, files in material.exports for file, found in files.items()
    }
    made = {"training": in_words(material.content.versions)}
    made |= {f"search for {name}": in_words(result.get("versions")) for name, result in material.searches.items()}
    found = [tag("h2", "Versions and hashes", id="versions"), tag("h3", "Versions that wrote this report")]
    found += [pairs("Versions", versions), tag("h3", "Versions that made the run"), pairs("Versions of the run", made)]
    found += [tag("h3", "Hashes (SHA-256, first digits)"), pairs("Hashes", hashes)]
    if material.exports:
        rows: list[list[Element | str]] = [
            [folder, result["what"], result["split"], percent(result), str(result["images"])]
            for folder, facts, _ in material.exports
            for result in facts["results"]
        ]
        found += [
            tag("h3", "Exported"),
            table("Exported", ["folder", "what was run", "split", "accuracy", "images"], rows),
        ]
    return found
