"""``metrics.jsonl``: a JSON object per line, each with the step that it belongs to.

A line may be cut short or damaged (a crash, a power cut, another program): it is left out, and isn't an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nas.events import Evaluated, Listener, Stepped
from search_spaces.schema import Count, convert, problem

from .files import atomic_write

Metric = Stepped | Evaluated


@dataclass(frozen=True)
class _Step:
    """The keys of every line; those of :class:`Evaluated` lie beside them, one for each subnet."""

    step: Count
    steps: Count | None = None


def metric_of(line: bytes) -> Metric | None:
    """The metric that a line holds; None: a training writes no such line."""
    try:
        content = json.loads(line)
        if isinstance(content, dict) and "loss" in content:
            return convert(content, Stepped)
        place = convert(content, _Step)
    except (ValueError, RecursionError):
        return None
    others = ((key, value) for key, value in content.items() if key not in ("step", "steps"))
    return Evaluated(place.step, {key: value for key, value in others if not problem(value, float)}, place.steps)


def line_of(metric: Metric) -> dict[str, float]:
    """The keys and values of a line, in order."""
    if isinstance(metric, Evaluated):
        head = {"step": metric.step, "steps": metric.steps}
        return {key: value for key, value in head.items() if value is not None} | dict(metric.accuracies)
    names = ("step", "steps", "epoch", "loss", "eta_s", "rollbacks", "lr_factor")
    return {name: value for name in names if (value := getattr(metric, name)) is not None}


def read_metrics(path: Path) -> tuple[list[Metric], int]:
    """The entries of a file in order, and how many lines hold none; of a file that doesn't exist none."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    metrics = [metric_of(line) for line in lines]
    whole = [metric for metric in metrics if metric is not None]
    return whole, len(metrics) - len(whole)


class Metrics:
    """The file of a training, cut back to ``start``, the step that the training continues from."""

    def __init__(self, path: Path, start: int, listener: Listener) -> None:
        self.path, self.listener = path, listener
        lines = [line_of(metric) for metric in read_metrics(path)[0] if metric.step <= start]
        atomic_write(path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def write(self, metric: Metric) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line_of(metric)) + "\n")
        self.listener(metric)
