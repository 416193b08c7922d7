"""The plots of a search: measured front, growth of the hypervolume, predicted against measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from nas.report.words import percent

from .chart import Scale, chart, x_scale, y_scale
from .marks import DASHES, Key, dots, line, point
from .markup import tag
from .palette import COLOURS, GREY

Facts = dict[str, Any]

_OWN = {
    "latency": ("latency_ms", 1.0, "latency, ms"),
    "size": ("size_bytes", 1e-3, "size of the weights, kB"),
    "macs": ("macs", 1e-6, "multiply-accumulates, millions"),
    "memory": ("peak_activation_bytes", 1e-3, "peak activations, kB"),
}
"""Key of a member, factor and name on the axis of each cost."""

_FRONT, _TEST, _RANDOM = COLOURS[:3]
_BASELINES = {
    "random": (_RANDOM, DASHES[1], "diamond"),
    "uniform": (COLOURS[3], DASHES[2], "triangle"),
    "nsga2": (COLOURS[4], DASHES[3], "square"),
}
"""Colour, dashes and shape of each."""

_SHARE = 0.9
"""Of the largest hypervolume: the axis reaches at least down to there, so that little does not look like much."""


@dataclass(frozen=True)
class Cost:
    """A cost that is an objective of a search.

    Attributes:
        name: among the objectives.
        key, device: of a member's figure; with a device, its latency there.
        factor: from figures to the axis.
        axis: name with unit.
        column: of the rows of measured candidates.
    """

    name: str
    key: str
    device: str
    factor: float
    axis: str
    column: int

    def of(self, member: Facts) -> float:
        """A member's cost in the unit of the axis."""
        return self.factor * float(member[self.key][self.device] if self.device else member[self.key])

    @property
    def file(self) -> str:
        return f"{self.name.partition(':')[0]}-on-{self.device}" if self.device else self.name


def costs_of(result: Facts) -> list[Cost]:
    """Costs that a search minimised. Raises KeyError where it names one that is not known."""
    found = []
    for column, name in enumerate(result["objectives"]):
        base, _, device = str(name).partition(":")
        if name == "accuracy":
            continue
        key, factor, axis = _OWN[base]
        if device:
            key, axis = "latency_elsewhere_ms", f"latency on {device}, ms"
        found.append(Cost(str(name), key, device, factor, axis, column))
    return found


def front_plot(name: str, result: Facts, cost: Cost) -> Element:
    """Measured accuracy against a cost: the front with 95 % intervals and the test split's, all that was measured, and
    the random baseline. What is worse than all of the front's intervals lies below the frame."""
    members = sorted(result["front"], key=cost.of)
    ends = [end for end in result["extremes"].values() if cost.name in end]
    measured = _places(result.get("measured", []), cost)
    random = _places(result["baselines"].get("random", {}).get("measured", []), cost)
    places = [cost.of(m) for m in members] + [cost.factor * end[cost.name] for end in ends]
    heights = [100 * m[split][end] for m in members for split in ("accuracy", "test") for end in ("low", "high")]
    x = x_scale([*places, *(a for a, _ in measured + random)])
    y = y_scale([*heights, *(100 * end["accuracy"]["value"] for end in ends)])
    marks, keys = [], [Key("front, search split (95 %)", _FRONT, "circle")]
    keys.append(Key("test split", _TEST, "diamond", hollow=True))
    for label, rows, colour in (("all measured", measured, GREY), ("random search", random, _RANDOM)):
        if rows:
            marks.append(dots([(x(a), y(b)) for a, b in rows if b in y], colour))
            keys.append(Key(label, colour, "dot"))
    for end in ends:
        a, b = x(cost.factor * end[cost.name]), y(100 * end["accuracy"]["value"])
        which = next(key for key, each in result["extremes"].items() if each is end)
        tip = f"{which} network of the space\nsearch {percent(end['accuracy'])}"
        marks.append(point("square", a, b, GREY, tip=tip))
    if ends:
        keys.append(Key("smallest, largest", GREY, "square"))
    marks += [_interval(member, x(cost.of(member)), y) for member in members]
    marks += [_member(member, x(cost.of(member)), y) for member in members]
    title = f"{result['target']['name']}: measured front, accuracy and {cost.file}"
    file = f"{name}-{cost.file}"
    return chart(title, file, x, y, (cost.axis, "accuracy, %"), marks, keys)


def _interval(member: Facts, x: float, y: Scale) -> Element:
    low, high = (y(100 * member["accuracy"][end]) for end in ("low", "high"))
    return tag("line", x1=x, x2=x, y1=low, y2=high, stroke=_FRONT, stroke_opacity="0.3", stroke_width=2)


def _member(member: Facts, x: float, y: Scale) -> Element:
    """Both points of a member; what is said of it is in its row of the table."""
    test, search = y(100 * member["test"]["value"]), y(100 * member["accuracy"]["value"])
    return tag("g", point("diamond", x, test, _TEST, hollow=True), point("circle", x, search, _FRONT),
               data_id=member["id"])  # fmt: skip


def _places(rows: list[list[float]], cost: Cost) -> list[tuple[float, float]]:
    return [(cost.factor * row[cost.column], 100 * row[0]) for row in rows]


def growth_plot(name: str, result: Facts) -> Element:
    """Hypervolume after a number of measurements, of the search and of each baseline."""
    grown = {"search": _growth(result["hypervolumes"])}
    for other, found in result["baselines"].items():
        end = {found["measurements"]: found["hypervolume"]}
        grown[other] = _growth(found.get("hypervolumes", end))
    x = x_scale([n for points in grown.values() for n, _ in points] + [0], from_zero=True)
    volumes = [v for points in grown.values() for _, v in points]
    y = y_scale([*volumes, _SHARE * max(volumes)])
    marks, keys = [], []
    for i, (which, points) in enumerate(grown.items()):
        colour, dashes, shape = _BASELINES.get(which, (GREY, DASHES[3], "square")) if i else (_FRONT, None, "circle")
        marks.append(line([(x(n), y(v)) for n, v in points], colour, dashes))
        told = [f"{which}, {n} measurements\nhypervolume {v:.4f}" for n, v in points]
        marks += [point(shape, x(n), y(v), colour, tip=tip) for (n, v), tip in zip(points, told, strict=True)]
        keys.append(Key(which, colour, shape))
    names = ("measured candidates", "hypervolume, share of the box")
    title = f"{result['target']['name']}: growth of the hypervolume"
    return chart(title, f"{name}-hypervolume", x, y, names, marks, keys)


def _growth(found: Facts) -> list[tuple[int, float]]:
    return sorted((int(n), float(v)) for n, v in found.items())


def fidelity_plot(name: str, result: Facts) -> Element | None:
    """Accuracy predicted before a candidate was measured, against the measurement; None: nothing is known of that."""
    found = result["predictor"]
    both = {
        key: [(100 * a, 100 * b) for a, b in found.get(key, {}).get("pairs", [])]
        for key in ("beforehand", "front_beforehand")
    }
    pairs = both["beforehand"]
    if not pairs:
        return None
    x, y = x_scale([a for a, _ in pairs]), y_scale([b for _, b in pairs])
    low, high = max(x.low, y.low), min(x.high, y.high)
    marks = [line([(x(low), y(low)), (x(high), y(high))], GREY, DASHES[1])] if low < high else []
    front = set(both["front_beforehand"])
    for a, b in sorted(pairs):
        tip = f"predicted {a:.2f} %\nmeasured {b:.2f} %" + ("\non the front" if (a, b) in front else "")
        own = (a, b) in front
        marks.append(point("circle", x(a), y(b), COLOURS[0] if own else GREY, hollow=not own, tip=tip))
    keys = [Key("on the front", COLOURS[0], "circle"), Key("other candidates", GREY, "circle", hollow=True),
            Key("predicted = measured", GREY, "line", DASHES[1])]  # fmt: skip
    names = ("predicted before it was measured, %", "measured accuracy, %")
    title = f"{result['target']['name']}: accuracy, predicted and measured"
    return chart(title, f"{name}-predictor", x, y, names, marks, keys)
