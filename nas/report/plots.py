"""The plots of a report: measured front, growth of the hypervolume, training curves, time by operator."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from .chart import BOTTOM, COLOURS, HEIGHT, chart, line, x_scale, y_scale
from .markup import tag
from .words import describe_member, percent

Facts = dict[str, Any]

_COSTS = {
    "latency": ("latency_ms", 1.0, "latency, ms"),
    "size": ("size_bytes", 1e-3, "weights, kB"),
    "macs": ("macs", 1e-6, "MMACs"),
    "memory": ("peak_activation_bytes", 1e-3, "peak activations, kB"),
}
"""Key of a member, factor and name on the axis of each cost."""


def front_plot(result: Facts) -> Element:
    """Measured accuracy against the first cost that is an objective, with 95 % intervals and the test split's."""
    key, factor, name = _COSTS[_first_cost(result)]
    members = sorted(result["front"], key=lambda m: m[key])
    ends = [end for end in result["extremes"].items() if _first_cost(result) in end[1]]
    places = [factor * m[key] for m in members] + [factor * end[_first_cost(result)] for _, end in ends]
    heights = [100 * m[split][end] for m in members for split in ("accuracy", "test") for end in ("low", "high")]
    x, y = x_scale(places), y_scale([*heights, *(100 * end["accuracy"]["value"] for _, end in ends)])
    marks = []
    for label, end in ends:
        a, b = x(factor * end[_first_cost(result)]), y(100 * end["accuracy"]["value"])
        tip = f"{label} network of the space\nsearch {percent(end['accuracy'])}"
        marks.append(tag("rect", x=a - 5, y=b - 5, width=10, height=10, fill="#9aa5b4", data_tip=tip, tabindex="0"))
    for member in members:
        a = x(factor * member[key])
        low, high = y(100 * member["accuracy"]["low"]), y(100 * member["accuracy"]["high"])
        marks.append(tag("line", x1=a, x2=a, y1=low, y2=high, stroke=COLOURS[0], stroke_opacity="0.3", stroke_width=2))
    for member in members:
        a, tip = x(factor * member[key]), describe_member(member)
        test, search = y(100 * member["test"]["value"]), y(100 * member["accuracy"]["value"])
        square = f"M{a:.1f},{test - 5:.1f}l5,5l-5,5l-5,-5z"
        marks.append(tag("path", d=square, fill="#fff", stroke=COLOURS[1], stroke_width=2, data_tip=tip))
        marks.append(tag("circle", cx=a, cy=search, r=5, fill=COLOURS[0], data_tip=tip, tabindex="0"))
    title = f"Measured front on {result['target']['name']}: accuracy against {name}"
    return chart(title, x, y, (name, "accuracy, %"), marks, ["search split", "test split"])


def growth_plot(result: Facts) -> Element:
    """Hypervolume after a number of measurements; baselines are points at theirs."""
    points = sorted((int(n), float(v)) for n, v in result["hypervolumes"].items())
    others = [(n, b["measurements"], b["hypervolume"]) for n, b in result["baselines"].items()]
    x = x_scale([n for n, _ in points] + [n for _, n, _ in others] + [0], from_zero=True)
    y = y_scale([v for _, v in points] + [v for _, _, v in others], from_zero=True)
    marks = [line([(x(n), y(v)) for n, v in points], COLOURS[0])]
    marks += [
        tag("circle", cx=x(n), cy=y(v), r=4, fill=COLOURS[0], data_tip=f"search, {n} measurements\n{v:.4f}")
        for n, v in points
    ]
    for i, (name, count, value) in enumerate(others, 1):
        colour, tip = COLOURS[i % len(COLOURS)], f"{name}, {count} measurements\n{value:.4f}"
        marks.append(line([(x(0), y(value)), (x(count), y(value))], colour, "3 4"))
        marks.append(tag("circle", cx=x(count), cy=y(value), r=6, fill=colour, data_tip=tip, tabindex="0"))
    names = ("measurements", "hypervolume")
    return chart("Growth of the hypervolume", x, y, names, marks, ["search", *(n for n, _, _ in others)])


def curves(metrics: list[Facts], keys: list[str], name: str, factor: float) -> Element:
    """Lines over training steps, one for each key of the metrics."""
    found = {key: [(m["step"], factor * m[key]) for m in metrics if key in m] for key in keys}
    x = x_scale([s for points in found.values() for s, _ in points] + [0], from_zero=True)
    y = y_scale([v for points in found.values() for _, v in points])
    marks = []
    for i, (key, points) in enumerate(found.items()):
        colour = COLOURS[i % len(COLOURS)]
        marks.append(line([(x(s), y(v)) for s, v in points], colour))
        radius = 4 if len(points) <= 60 else 2
        marks += [
            tag("circle", cx=x(s), cy=y(v), r=radius, fill=colour, data_tip=f"step {s}\n{key} {v:.4g}")
            for s, v in points
        ]
    return chart(f"{name} while training", x, y, ("training step", name), marks, keys if len(keys) > 1 else [])


def layers_plot(estimate: Facts) -> Element:
    """Predicted time of each operator in the order of execution."""
    layers = estimate["layers"]
    x, y = x_scale([0, len(layers)], from_zero=True), y_scale([row["ms"] for row in layers], from_zero=True)
    kinds = list(dict.fromkeys(row["kind"] for row in sorted(layers, key=lambda r: -r["ms"]) if row["macs"]))[:3]
    width = max(1.0, x(1) - x(0) - 1)
    marks = []
    for i, row in enumerate(layers):
        colour = COLOURS[kinds.index(row["kind"])] if row["kind"] in kinds else "#9aa5b4"
        shape = " x ".join(map(str, row["out_shape"]))
        where = f"{row['path'] or '(the network itself)'}\n{row['kind']}, {shape}"
        tip = f"{where}\n{row['ms']:.4f} ms, {row['macs'] / 1e6:.3f} MMACs"
        top = y(row["ms"])
        marks.append(tag("rect", x=x(i), y=top, width=width, height=HEIGHT - BOTTOM - top, fill=colour, data_tip=tip))
    names = ("operator, in the order of execution (grey: other kinds)", "ms")
    return chart("Predicted time of each operator", x, y, names, marks, kinds)


def _first_cost(result: Facts) -> str:
    """The first objective that every member of a front has a figure of; other devices' latencies have columns."""
    names: list[str] = [*result["objectives"], "latency"]
    return next(name for name in names if name in _COSTS)
