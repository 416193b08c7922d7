"""How a search was done, and what its figures rest on: the facts without which no figure can be judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.search.config import SearchConfig
from nas.search.objectives import Bounds, with_unit
from nas.store.hints import hint
from nas.store.results import AccuracyRecord, Extreme, Member, SearchResult
from nas.store.versions import in_words
from search_spaces.schema import convert

from .gather import Seconds
from .words import percent

_EXPECTED = {"random": "random", "uniform": "random,uniform"}
"""Baselines that a reader looks for, and the setting that measures them."""


def describe_protocol(result: SearchResult, seconds: Seconds) -> dict[str, str]:
    """Facts about a search, by name, with the time of the measurements in the run's journal. Raises SchemaError,
    UserError: settings that no search of this version has."""
    config, counts = convert(result.config, SearchConfig, "config"), result.measurements
    facts = {
        "latency": result.target.latency,
        **{f"latency on {name}": label for name, label in result.others.items()},
        "objectives": ", ".join(result.objectives),
        "bounds": _describe_bounds(config.bounds),
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
    facts |= {f"the {name} network": _describe_extreme(end) for name, end in result.extremes.items()}
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


def _describe_extreme(end: Extreme) -> str:
    return ", ".join([percent(end.accuracy), *(with_unit(name, value) for name, value in end.costs.items())])


def _describe_bounds(bounds: Bounds) -> str:
    limits = {name: value for name, value in vars(bounds).items() if name != "elsewhere" and value is not None}
    parts = [f"{name} {value:g}" for name, value in limits.items()]
    return ", ".join([*parts, *(f"{name} {ms:g} ms" for name, ms in bounds.elsewhere.items())]) or "none"


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
