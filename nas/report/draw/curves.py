"""The other plots: training curves, and the time of each operator."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from nas.events import Evaluated, Stepped
from nas.workflows.estimate import Layer

from .chart import BOTTOM, HEIGHT, chart, x_scale, y_scale
from .marks import Key, line, make_keys, point
from .markup import tag
from .palette import COLOURS, GREY

Points = list[tuple[float, float]]

_MOST = 120
"""Points of a curve at most."""

_KINDS = dict(zip(("pointwise", "depthwise", "conv", "linear", "matmul"), COLOURS, strict=True))
"""Colour of operators by their kind."""


def plot_accuracies(metrics: Sequence[Evaluated], names: Sequence[str]) -> Element:
    lines: dict[str, Points] = {
        name: [(m.step, 100 * m.accuracies[name]) for m in metrics if name in m.accuracies] for name in names
    }
    return _curves("Accuracy of subnets while training", "training-accuracy", lines, "accuracy, %")


def plot_losses(metrics: Sequence[Stepped]) -> Element:
    points: Points = [(m.step, m.loss) for m in metrics]
    return _curves("Loss while training", "training-loss", {"loss": points}, "loss")


def _curves(title: str, file: str, lines: dict[str, Points], name: str) -> Element:
    thin = {key: average_points(points) for key, points in lines.items()}
    x = x_scale([s for points in thin.values() for s, _ in points] + [0], from_zero=True)
    y = y_scale([v for points in thin.values() for _, v in points])
    keys, marks = make_keys(list(thin)), []
    for key, points in zip(keys, thin.values(), strict=True):
        marks.append(line([(x(s), y(v)) for s, v in points], key.colour, key.dashes))
        marks += [
            point(
                "circle", x(s), y(v), key.colour, 4 if len(points) <= 40 else 2, tip=f"step {s:g}\n{key.label} {v:.4g}"
            )
            for s, v in points
        ]
    return chart(title, file, x, y, ("training step", name), marks, keys if len(keys) > 1 else [])


def average_points(points: Points) -> Points:
    """At most :data:`_MOST` points; of more, means of equally many neighbours, placed at the last of them."""
    size = max(1, -(-len(points) // _MOST))
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(v for _, v in part) / len(part)) for part in parts]


def plot_layers(layers: Sequence[Layer]) -> Element:
    """Predicted time of each operator in the order of execution."""
    x, y = x_scale([0, len(layers)], from_zero=True), y_scale([row.ms for row in layers], from_zero=True)
    kinds = [kind for kind in _KINDS if any(row.kind == kind for row in layers)]
    width = max(1.0, x(1) - x(0) - 1)
    marks = []
    for i, row in enumerate(layers):
        colour = _KINDS.get(row.kind, GREY)
        shape = " x ".join(map(str, row.out_shape))
        where = f"{row.path or '(the network itself)'}\n{row.kind}, {shape}, {row.precision}"
        tip = f"{where}\n{row.ms:.4f} ms, {row.macs / 1e6:.3f} MMACs"
        top = y(row.ms)
        marks.append(tag("rect", x=x(i), y=top, width=width, height=HEIGHT - BOTTOM - top, fill=colour, data_tip=tip))
    keys = [*(Key(kind, _KINDS[kind], "square") for kind in kinds), Key("other", GREY, "square")]
    names = ("operator, in the order of execution", "predicted latency, ms")
    return chart("Predicted latency of each operator", None, x, y, names, marks, keys)
