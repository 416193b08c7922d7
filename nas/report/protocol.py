"""How a search was done, and what its figures rest on: the facts without which no figure can be judged."""

from __future__ import annotations

import math
from typing import Any

from nas.search.objectives import with_unit
from nas.store.versions import in_words

from .seconds import Seconds
from .words import percent

Facts = dict[str, Any]

_WANTED = {"random": "random", "uniform": "random,uniform"}
"""Baselines that a reader looks for, and what to compare with to have them."""


def protocol(result: Facts, seconds: Seconds) -> dict[str, str]:
    """Names and facts.

    Args:
        result: of a search.
        seconds: by split, then by what they were measured for: how many measurements the run's journal holds, and
            their seconds.
    """
    config, counts = result["config"], result["measurements"]
    others = {f"latency on {name}": label for name, label in result["others"].items()}
    found = {
        "latency": result["target"]["latency"], **others,
        "objectives": ", ".join(result["objectives"]),
        "bounds": _bounds(config["bounds"]),
        "precisions": config["precision"].replace(",", ", "),
        "measured": f"{counts['new']} different candidates for this search, {counts['prior']} known from before",
        "it ended because": result["stopped"],
        "hypervolume": f"{result['hypervolume']:.4f} of the box between zero and the reference",
        "its reference": ", ".join(with_unit(name, value) for name, value in result["reference"].items()),
    }  # fmt: skip
    for name, other in result["baselines"].items():
        found[f"{name}, measured as often"] = (
            f"hypervolume {other['hypervolume']:.4f} after {other['measurements']} measurements"
        )
    for name, wanted in _WANTED.items():
        if name not in result["baselines"]:
            found[f"{name}, measured as often"] = f"not measured; nas search --compare {wanted}"
    gain = result["gain_over_random"]
    found["gain over random subnets"] = (
        "not known" if gain is None else f"{100 * gain:+.2f} points of accuracy on average, at equal cost"
    )
    found |= {f"the {name} network": _extreme(end) for name, end in result["extremes"].items()}
    if "," in config["precision"]:
        plain = sum(member["precision"] == "int8" for member in result["front"])
        found["int8 everywhere"] = f"{plain} of {len(result['front'])} networks on the front"
    found["test split against search split"] = _splits(result["front"])
    found["spread over seeds"] = f"not known: this is one seed, {config['seed']}"
    found |= {f"seconds of measuring, {split} split": _seconds(parts) for split, parts in seconds.items() if parts}
    found["versions"] = in_words(result.get("versions"))
    found["accuracies"] = (
        "of the networks as they are shipped: extracted, calibrated on "
        f"{config.get('calibration_images', 'some')} training images, quantized. Candidates are chosen on the search "
        "split; the test split is used once, for the front. Intervals: 95 %, Wilson's."
    )
    return found


def _extreme(end: Facts) -> str:
    costs = ", ".join(with_unit(name, value) for name, value in end.items() if name != "accuracy")
    return f"{percent(end['accuracy'])}, {costs}"


def _bounds(bounds: Facts) -> str:
    elsewhere = bounds["elsewhere"].items()
    parts = [f"{name} {value:g}" for name, value in bounds.items() if name != "elsewhere" and value is not None]
    return ", ".join([*parts, *(f"{name} {ms:g} ms" for name, ms in elsewhere)]) or "none"


def _splits(front: list[Facts]) -> str:
    """How the front does on images it was not chosen by. Its members share their errors, so the standard error is that
    of one member's difference."""
    gaps = [100 * (m["test"]["value"] - m["accuracy"]["value"]) for m in front]
    errors = [100 * math.hypot(*(_error(m[split]) for split in ("test", "accuracy"))) for m in front]
    return (
        f"{sum(gaps) / len(gaps):+.2f} points, mean over the front ({min(gaps):+.2f} to {max(gaps):+.2f}); "
        f"standard error of one difference {max(errors):.2f}"
    )


def _error(found: Facts) -> float:
    """Binomial standard error of a share, from its counts."""
    value, images = found["value"], found["images"]
    return math.sqrt(value * (1 - value) / images)


def _seconds(parts: dict[str, tuple[int, float]]) -> str:
    total = sum(spent for _, spent in parts.values())
    each = ", ".join(f"{origin} {spent:.0f} s for {count}" for origin, (count, spent) in parts.items())
    return f"{total:.0f} s for all searches of this run: {each}"
