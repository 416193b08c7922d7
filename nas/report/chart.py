"""Axes of a chart: from numbers to places in an SVG of fixed size that scales with the screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .markup import SVG, tag

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 44
INK, GRID = "#4b5768", "#d8dee6"
COLOURS = ("#1769aa", "#c2410c", "#3f7d20", "#7b3fa0", "#8a6d00")


@dataclass(frozen=True)
class Scale:
    """Numbers ``low`` to ``high`` along the places ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Raises ValueError where the number is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place on an axis")
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Four to nine round numbers."""
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def x_scale(values: Iterable[float], from_zero: bool = False) -> Scale:
    return _scale(values, LEFT, WIDTH - RIGHT, from_zero)


def y_scale(values: Iterable[float], from_zero: bool = False) -> Scale:
    return _scale(values, HEIGHT - BOTTOM, TOP, from_zero)


def _scale(values: Iterable[float], start: float, stop: float, from_zero: bool) -> Scale:
    """Room for all values. Raises ValueError where one is not finite or there is none."""
    known = [float(v) for v in values]
    if not known or not all(map(math.isfinite, known)):
        raise ValueError("nothing that could be drawn")
    low, high = (min(0.0, *known) if from_zero else min(known)), max(known)
    margin = 0.06 * (high - low) or max(abs(high) * 0.06, 1e-6)
    return Scale(low if from_zero else low - margin, high + margin, start, stop)


def _round_step(rough: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return max(m * power for m in (1, 2, 5) if m * power <= rough * (1 + 1e-9))


def chart(
    title: str, x: Scale, y: Scale, names: tuple[str, str], marks: Sequence[Element], keys: Sequence[str]
) -> Element:
    """A drawing with axes.

    Args:
        title: what a screen reader says.
        names: of the axes.
        marks: what is drawn.
        keys: the legend, one entry for each of :data:`COLOURS` in turn.
    """
    lines: list[Element] = []
    for value in y.ticks():
        lines.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), stroke=GRID))
        lines.append(_text(f"{value:.6g}", LEFT - 6, y(value) + 4, "end"))
    for value in x.ticks():
        lines.append(tag("line", x1=x(value), x2=x(value), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, stroke=INK))
        lines.append(_text(_short(value), x(value), HEIGHT - BOTTOM + 17, "middle"))
    lines.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, stroke=INK))
    lines.append(_text(names[0], (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle"))
    lines.append(_text(names[1], 4, 12, "start"))
    place = WIDTH - RIGHT
    for i, key in reversed(list(enumerate(keys))):
        lines.append(_text(key, place, 12, "end", COLOURS[i % len(COLOURS)]))
        place -= 7 * len(key) + 16
    background = tag("rect", width=WIDTH, height=HEIGHT, fill="#fff")
    return drawing(title, WIDTH, HEIGHT, [background, *lines, *marks])


def drawing(title: str, width: float, height: float, content: Sequence[Element]) -> Element:
    """An SVG; its font is that of the page where there is one."""
    return tag(
        "svg", tag("title", title), *content,
        xmlns=SVG, viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height), role="img",
        font_size=12, font_family="system-ui, sans-serif",
    )  # fmt: skip


def line(points: Sequence[tuple[float, float]], colour: str, dashes: str | None = None) -> Element:
    """A line through places."""
    text = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return tag("polyline", points=text, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes)


def _text(text: str, x: float, y: float, anchor: str, colour: str = INK) -> Element:
    return tag("text", text, x=float(x), y=float(y), text_anchor=anchor, fill=colour)


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 and value % 100 == 0 else f"{value:.6g}"
