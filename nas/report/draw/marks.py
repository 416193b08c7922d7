"""The parts of charts: points of several shapes, lines, clouds of dots, text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .markup import tag
from .palette import COLOURS, INK, PAPER

Place = tuple[float, float]

SHAPES = ("circle", "diamond", "square", "triangle")
DASHES = (None, "7 4", "2 4", "10 3 2 3", "1 3")
"""Dashes of lines, in the order of :data:`COLOURS`."""


@dataclass(frozen=True)
class Key:
    """An entry of a legend; ``shape``: one of :data:`SHAPES`, ``line``, or ``dot``; ``hollow``: an outline."""

    label: str
    colour: str
    shape: str
    dashes: str | None = None
    hollow: bool = False

    def sample(self, x: float, y: float) -> Element:
        """The mark itself, 20 wide, with its middle at a place."""
        if self.shape == "line":
            return line([(x - 10, y), (x + 10, y)], self.colour, self.dashes)
        if self.shape == "dot":
            return dots([(x - 5, y - 2), (x + 1, y + 2), (x + 6, y - 1)], self.colour)
        return point(self.shape, x, y, self.colour, hollow=self.hollow)


def make_keys(names: Sequence[str]) -> list[Key]:
    """Keys of lines, each with its own colour and dashes."""
    return [
        Key(name, COLOURS[i % len(COLOURS)], "line", DASHES[i % len(DASHES)]) for i, name in enumerate(names)
    ]  # fmt: skip


def point(
    shape: str, x: float, y: float, colour: str, radius: float = 5, hollow: bool = False, tip: str | None = None
) -> Element:  # fmt: skip
    """A point of one of :data:`SHAPES`; hollow: an outline on paper."""
    look = {"fill": PAPER, "stroke": colour, "stroke_width": 2} if hollow else {"fill": colour}
    if shape == "circle":
        return tag("circle", cx=float(x), cy=float(y), r=float(radius), data_tip=tip, **look)
    r = radius * 1.1
    corners = {
        "diamond": [(x, y - r), (x + r, y), (x, y + r), (x - r, y)],
        "square": [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        "triangle": [(x, y - r), (x + r, y + r), (x - r, y + r)],
    }[shape]
    return tag("polygon", points=_places(corners), data_tip=tip, **look)


def line(places: Sequence[Place], colour: str, dashes: str | None = None) -> Element:
    return tag(
        "polyline", points=_places(places), fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes
    )  # fmt: skip


def dots(places: Sequence[Place], colour: str) -> Element:
    """Many small dots as one element: a thousand of them are 14 kB."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    return tag("path", d=path, fill="none", stroke=colour, stroke_width=4, stroke_linecap="round")


def words(text: str, x: float, y: float, anchor: str = "start", colour: str = INK) -> Element:
    return tag("text", text, x=float(x), y=float(y), text_anchor=anchor, fill=colour)


def _places(places: Sequence[Place]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
