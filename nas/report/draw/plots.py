"""The plots: of a search (measured front, growth of the hypervolume, predicted against measured), of a training, and of
the operators of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from nas.events import Evaluated, Stepped
from nas.report.words import percent
from nas.search.objectives import Objective, find_objective
from nas.store.results import Member, Rows, SearchResult
from nas.store.tuned import TunedMember
from nas.workflows.estimate import Layer

from .chart import BOTTOM, HEIGHT, Scale, chart, x_scale, y_scale
from .marks import DASHES, Key, dots, line, make_keys, point
from .markup import tag
from .palette import COLOURS, GREY

_FRONT, _TEST, _RANDOM, _WHOLE, _TUNED = COLOURS
_BASELINES = {
    "random": (_RANDOM, DASHES[1], "diamond"),
    "uniform": (COLOURS[3], DASHES[2], "triangle"),
    "nsga2": (COLOURS[4], DASHES[3], "square"),
}
"""Colour, dashes and shape of each baseline."""

_SHARE = 0.9
"""The axis of hypervolumes reaches down to this share of the largest at least, so that small gains look small."""

Points = list[tuple[float, float]]

_MOST = 120
"""Points of a curve at most."""

_KINDS = dict(zip(("pointwise", "depthwise", "conv", "linear", "matmul"), COLOURS, strict=True))
"""Colour of operators by their kind."""


@dataclass(frozen=True)
class Cost:
    """A cost that a search minimised, as an axis; ``column``: in the rows of measured candidates."""

    objective: Objective
    column: int

    @property
    def axis(self) -> str:
        """Name of the axis with its unit."""
        return f"{self.objective.axis}, {self.objective.unit.name}"

    @property
    def file(self) -> str:
        """Its part of the name of a file."""
        device = self.objective.device
        return f"{self.objective.name.partition(':')[0]}-on-{device}" if device else self.objective.name

    def scale(self, value: float) -> float:
        """A figure in the unit of the axis."""
        return value / self.objective.unit.scale

    def of(self, member: Member) -> float:
        """A member's figure in the unit of the axis."""
        return self.scale(self.objective.of(member))


def list_costs(result: SearchResult) -> list[Cost]:
    """Costs that a search minimised. Raises UsageError: it names an unknown one."""
    return [
        Cost(find_objective(name), column) for column, name in enumerate(result.objectives) if name != "accuracy"
    ]  # fmt: skip


def plot_front(
    name: str, result: SearchResult, cost: Cost, tuned: Mapping[str, TunedMember]
) -> Element:  # fmt: skip
    """Measured accuracy against a cost: the front with 95 % intervals and accuracies on the test split, what
    fine-tuning made of its members, all measured candidates, the random baseline, and the whole network at each
    resolution. Candidates worse than all intervals of the front lie below the frame."""
    members = sorted(result.front, key=cost.of)
    ends = {key: end for key, end in result.extremes.items() if cost.objective.name in end.costs}
    measured = _places(result.measured, cost)
    random = _places(result.baselines["random"].measured, cost) if "random" in result.baselines else []
    whole = [(cost.of(member), 100 * member.accuracy.value) for member in result.whole or ()]
    corners = {key: (cost.scale(end.costs[cost.objective.name]), 100 * end.accuracy.value) for key, end in ends.items()}
    heights = [100 * v for m in members for a in (m.accuracy, m.test) for v in (a.low, a.high)]
    heights += [100 * v for each in tuned.values() for v in (each.after.value, each.test.value)]
    x = x_scale([*map(cost.of, members), *(a for a, _ in (*corners.values(), *measured, *random, *whole))])
    y = y_scale([*heights, *(b for _, b in (*corners.values(), *whole))])
    marks, keys = [], [Key("front, search split (95 %)", _FRONT, "circle")]
    keys.append(Key("test split", _TEST, "diamond", hollow=True))
    for label, places, colour in (("all measured", measured, GREY), ("random search", random, _RANDOM)):
        if places:
            marks.append(dots([(x(a), y(b)) for a, b in places if b in y], colour))
            keys.append(Key(label, colour, "dot"))
    for key, (a, b) in corners.items():
        tip = f"{key} network of the space\nsearch {percent(ends[key].accuracy)}"
        marks.append(point("square", x(a), y(b), GREY, tip=tip))
    if ends:
        keys.append(Key("smallest, largest", GREY, "square"))
    if whole:
        marks.append(line([(x(a), y(b)) for a, b in whole], _WHOLE, DASHES[1]))
        for member, (a, b) in zip(result.whole or (), whole, strict=True):
            tip = f"the whole, fine-tuned, {member.architecture.resolution} px\nsearch {percent(member.accuracy)}"
            marks.append(point("triangle", x(a), y(b), _WHOLE, tip=tip))
        keys.append(Key("whole, fine-tuned", _WHOLE, "triangle"))
    marks += [_interval(member, x(cost.of(member)), y) for member in members]
    marks += [_member(member, x(cost.of(member)), y) for member in members]
    marks += [_tuned(member, tuned[member.id], x(cost.of(member)), y) for member in members if member.id in tuned]
    if tuned:
        keys.append(Key("fine-tuned, search split", _TUNED, "square"))
        keys.append(Key("fine-tuned, test split", _TUNED, "square", hollow=True))
    title = f"{result.target.name}: measured front, accuracy and {cost.file}"
    return chart(title, f"{name}-{cost.file}", x, y, (cost.axis, "accuracy, %"), marks, keys)


def _interval(member: Member, x: float, y: Scale) -> Element:
    low, high = y(100 * member.accuracy.low), y(100 * member.accuracy.high)
    return tag("line", x1=x, x2=x, y1=low, y2=high, stroke=_FRONT, stroke_opacity="0.3", stroke_width=2)


def _member(member: Member, x: float, y: Scale) -> Element:
    """Both points of a member; its row of the table holds their description."""
    test, search = y(100 * member.test.value), y(100 * member.accuracy.value)
    return tag("g", point("diamond", x, test, _TEST, hollow=True), point("circle", x, search, _FRONT),
               data_id=member.id)  # fmt: skip


def _tuned(member: Member, tuned: TunedMember, x: float, y: Scale) -> Element:
    """A line from what the search found to what fine-tuning made of it, and its place on the test split."""
    before, after, test = (y(100 * a.value) for a in (member.accuracy, tuned.after, tuned.test))
    return tag("g", line([(x, before), (x, after)], _TUNED, DASHES[2]),
               point("square", x, test, _TUNED, hollow=True), point("square", x, after, _TUNED),
               data_id=member.id)  # fmt: skip


def _places(rows: Rows, cost: Cost) -> list[tuple[float, float]]:
    return [(cost.scale(row[cost.column]), 100 * row[0]) for row in rows]


def plot_growth(name: str, result: SearchResult) -> Element:
    """Hypervolume after a number of measurements, of the search and of each baseline."""
    grown = {"search": _sort_growth(result.hypervolumes)}
    for other, baseline in result.baselines.items():
        end = {str(baseline.measurements): baseline.hypervolume}
        grown[other] = _sort_growth(baseline.hypervolumes or end)
    x = x_scale([n for points in grown.values() for n, _ in points] + [0], from_zero=True)
    volumes = [v for points in grown.values() for _, v in points]
    y = y_scale([*volumes, _SHARE * max(volumes)])
    marks, keys = [], []
    for i, (which, points) in enumerate(grown.items()):
        colour, dashes, shape = _BASELINES.get(which, (GREY, DASHES[3], "square")) if i else (_FRONT, None, "circle")
        marks.append(line([(x(n), y(v)) for n, v in points], colour, dashes))
        tips = [f"{which}, {n} measurements\nhypervolume {v:.4f}" for n, v in points]
        marks += [point(shape, x(n), y(v), colour, tip=tip) for (n, v), tip in zip(points, tips, strict=True)]
        keys.append(Key(which, colour, shape))
    names = ("measured candidates", "hypervolume, share of the box")
    title = f"{result.target.name}: growth of the hypervolume"
    return chart(title, f"{name}-hypervolume", x, y, names, marks, keys)


def _sort_growth(volumes: Mapping[str, float]) -> list[tuple[int, float]]:
    return sorted((int(n), v) for n, v in volumes.items())


def plot_fidelity(name: str, result: SearchResult) -> Element | None:
    """Accuracy predicted before a candidate was measured, against the measurement; None: there are no predictions."""
    pairs = _as_percent(result.predictor.beforehand.pairs)
    front = set(_as_percent(result.predictor.front_beforehand.pairs))
    if not pairs:
        return None
    x, y = x_scale([a for a, _ in pairs]), y_scale([b for _, b in pairs])
    low, high = max(x.low, y.low), min(x.high, y.high)
    marks = [line([(x(low), y(low)), (x(high), y(high))], GREY, DASHES[1])] if low < high else []
    for a, b in sorted(pairs):
        on_front = (a, b) in front
        tip = f"predicted {a:.2f} %\nmeasured {b:.2f} %" + ("\non the front" if on_front else "")
        marks.append(point("circle", x(a), y(b), COLOURS[0] if on_front else GREY, hollow=not on_front, tip=tip))
    keys = [Key("on the front", COLOURS[0], "circle"), Key("other candidates", GREY, "circle", hollow=True),
            Key("predicted = measured", GREY, "line", DASHES[1])]  # fmt: skip
    names = ("predicted before it was measured, %", "measured accuracy, %")
    title = f"{result.target.name}: accuracy, predicted and measured"
    return chart(title, f"{name}-predictor", x, y, names, marks, keys)


def _as_percent(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(100 * a, 100 * b) for a, b in pairs]


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
