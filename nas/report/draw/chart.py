"""Axes of a chart: from numbers to places in an SVG of fixed size that scales with the screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from xml.etree.ElementTree import Element

from .marks import Key, words
from .markup import SVG, tag
from .palette import GRID, INK, PAPER, STRONG

WIDTH, HEIGHT = 420, 360
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 56, 50
FONT = 14
"""Size of text in units of the drawing; 12 pixels on a phone of 390 pixels, where a drawing is 366 pixels wide."""

_LETTER, _SAMPLE, _ROW = 7.4, 28, 22


@dataclass(frozen=True)
class Scale:
    """Maps numbers from ``low`` to ``high`` to places from ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The place of a number. Raises ValueError: it isn't finite."""
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place on an axis")
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Three to nine round numbers; fewer along the width, where labels are side by side."""
        step = _round_step((self.high - self.low) / (3 if self.stop > self.start else 4))
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def x_scale(values: Iterable[float], from_zero: bool = False) -> Scale:
    """A scale along the width. Raises ValueError: a value isn't finite, or there are none."""
    return _scale(values, LEFT, WIDTH - RIGHT, from_zero)


def y_scale(values: Iterable[float], from_zero: bool = False) -> Scale:
    """A scale up the height; as :func:`x_scale`."""
    return _scale(values, HEIGHT - BOTTOM, TOP, from_zero)


def _scale(values: Iterable[float], start: float, stop: float, from_zero: bool) -> Scale:
    numbers = [float(v) for v in values]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("there are no numbers to draw, or some aren't finite")
    low, high = (min(0.0, *numbers) if from_zero else min(numbers)), max(numbers)
    margin = 0.06 * (high - low) or max(abs(high) * 0.06, 1e-6)
    return Scale(low if from_zero else low - margin, high + margin, start, stop)


def _round_step(rough: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return max(m * power for m in (1, 2, 5) if m * power <= rough * (1 + 1e-9))


def chart(
    title: str,
    file: str | None,
    x: Scale,
    y: Scale,
    names: tuple[str, str],
    marks: Sequence[Element],
    keys: Sequence[Key] = (),
) -> Element:
    """A drawing with axes, whose names say their units, and its legend below; ``file``: name of the file that it is
    written to; None: it is only part of the page."""
    lines: list[Element] = []
    for value in y.ticks():
        lines.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), stroke=GRID))
        lines.append(words(_short(value), LEFT - 6, y(value) + 5, "end"))
    for value in x.ticks():
        lines.append(tag("line", x1=x(value), x2=x(value), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 5, stroke=INK))
        lines.append(words(_short(value), x(value), HEIGHT - BOTTOM + 20, "middle"))
    lines.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, stroke=INK))
    lines.append(words(names[0], (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle"))
    lines.append(words(title, 4, 16, colour=STRONG))
    lines.append(words(names[1], 4, 38))
    legend, bottom = _legend(keys)
    return drawing(title, WIDTH, bottom, [*lines, *legend, *marks], file)


def _legend(keys: Sequence[Key]) -> tuple[list[Element], float]:
    """Entries in rows below the axes, and the lower end of the last row."""
    entries: list[Element] = []
    x, y = 4.0, HEIGHT + _ROW / 2
    for key in keys:
        width = _SAMPLE + _LETTER * len(key.label) + 14
        if x > 4 and x + width > WIDTH:
            x, y = 4.0, y + _ROW
        entries += [key.sample(x + 10, y), words(key.label, x + _SAMPLE, y + 5)]
        x += width
    return entries, y + _ROW / 2 if keys else float(HEIGHT)


def drawing(
    title: str, width: float, height: float, content: Sequence[Element], file: str | None = None, font: int = FONT
) -> Element:  # fmt: skip
    """An SVG on paper, in the font of the page. The tab key reaches its first mark, and the arrow keys the others, with
    the script of the page."""
    paper = tag("rect", width=float(width), height=float(height), fill=PAPER)
    picture = tag(
        "svg", paper, *content,
        xmlns=SVG, viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height), role="group",
        aria_label=title, font_size=font, font_family="system-ui, sans-serif", data_file=file,
    )  # fmt: skip
    marks = (mark for mark in picture.iter() if "data-tip" in mark.attrib or "data-id" in mark.attrib)
    for first in islice(marks, 1):
        first.set("tabindex", "0")
    return picture


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 and value % 100 == 0 else f"{value:.6g}"
