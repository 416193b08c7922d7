"""A chart as a picture of pixels, for where SVG cannot go: slides, chats, model cards."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from xml.etree.ElementTree import Element

from PIL import Image, ImageColor, ImageDraw, ImageFont

from nas.report.draw.palette import PAPER

_SCALE = 2
"""Pixels by unit of the drawing."""
_FINER = 3
"""Drawn so many times larger, then averaged: smooth edges."""

Colour = tuple[int, ...]


def to_png(drawing: Element) -> bytes:
    """Pixels of a drawing made of what ``marks`` and ``chart`` make: rect, line, polyline, polygon, circle, dots, text.

    Raises:
        ValueError: it holds something else.
    """
    finer = _SCALE * _FINER
    width, height = (round(float(drawing.get(side, ""))) for side in ("width", "height"))
    picture = Image.new("RGB", (width * finer, height * finer), PAPER)
    pen = _Pen(ImageDraw.Draw(picture), finer, float(drawing.get("font-size", "")))
    for element in drawing:
        pen.draw(element)
    small = picture.resize((width * _SCALE, height * _SCALE), Image.Resampling.BOX)
    out = io.BytesIO()
    small.quantize(128, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return out.getvalue()


class _Pen:
    """Draws elements of an SVG on pixels."""

    def __init__(self, canvas: ImageDraw.ImageDraw, scale: int, font: float) -> None:
        self.canvas, self.scale = canvas, scale
        self.font = ImageFont.load_default(font * scale)

    def draw(self, element: Element) -> None:
        if element.tag == "g":
            for child in element:
                self.draw(child)
        elif element.tag == "text":
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[element.get("text-anchor", "start")]
            place = (self._at(element, "x"), self._at(element, "y"))
            self.canvas.text(place, element.text or "", _colour(element, "fill"), self.font, anchor)
        elif element.tag == "rect":
            x, y = self._at(element, "x"), self._at(element, "y")
            corner = (x + self._at(element, "width"), y + self._at(element, "height"))
            self.canvas.rectangle((x, y, *corner), _colour(element, "fill"))
        elif element.tag == "circle":
            self._circle(element)
        elif element.tag == "polygon":
            places = self._places(element)
            self.canvas.polygon(places, _colour(element, "fill"))
            if element.get("stroke"):
                self._line([*places, places[0]], element)
        elif element.tag in ("line", "polyline"):
            self._line(self._places(element), element)
        elif element.tag == "path":
            for x, y in re.findall(r"M(\S+) (\S+?)h0", element.get("d", "")):
                self._disc(float(x) * self.scale, float(y) * self.scale, self._width(element) / 2, element, "stroke")
        else:
            raise ValueError(f"{element.tag} has no pixels")

    def _circle(self, element: Element) -> None:
        x, y, radius = self._at(element, "cx"), self._at(element, "cy"), self._at(element, "r")
        if element.get("stroke"):
            self._disc(x, y, radius + self._width(element) / 2, element, "stroke")
            radius -= self._width(element) / 2
        self._disc(x, y, radius, element, "fill")

    def _disc(self, x: float, y: float, radius: float, element: Element, what: str) -> None:
        self.canvas.ellipse((x - radius, y - radius, x + radius, y + radius), _colour(element, what))

    def _line(self, places: list[tuple[float, float]], element: Element) -> None:
        width, colour = round(self._width(element)), _colour(element, "stroke")
        dashes = [float(part) * self.scale for part in element.get("stroke-dasharray", "").split()]
        for piece in _dashed(places, dashes) if dashes else [places]:
            self.canvas.line(piece, colour, width, joint="curve")

    def _places(self, element: Element) -> list[tuple[float, float]]:
        if element.tag == "line":
            return [(self._at(element, f"x{i}"), self._at(element, f"y{i}")) for i in "12"]
        pairs = (pair.split(",") for pair in element.get("points", "").split())
        return [(float(x) * self.scale, float(y) * self.scale) for x, y in pairs]

    def _at(self, element: Element, name: str) -> float:
        return float(element.get(name, "0")) * self.scale

    def _width(self, element: Element) -> float:
        return float(element.get("stroke-width", "1")) * self.scale


def _colour(element: Element, what: str) -> Colour:
    """Of an element on paper; with an opacity, what shows."""
    own, behind = (ImageColor.getrgb(each) for each in (element.get(what, PAPER), PAPER))
    share = float(element.get("stroke-opacity", "1"))
    return tuple(round(share * a + (1 - share) * b) for a, b in zip(own, behind, strict=True))


def _dashed(places: list[tuple[float, float]], dashes: list[float]) -> list[list[tuple[float, float]]]:
    """Pieces of a line that are drawn; lengths of dashes and gaps take turns, on around corners."""
    pieces: list[list[tuple[float, float]]] = []
    turn, left, piece = 0, dashes[0], places[:1]
    for (x0, y0), (x1, y1) in pairwise(places):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        done = 0.0
        while length - done > left:
            done += left
            place = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if turn % 2 == 0:
                pieces.append([*piece, place])
            turn, piece = turn + 1, [place]
            left = dashes[turn % len(dashes)]
        left -= length - done
        piece.append((x1, y1))
    return [*pieces, piece] if turn % 2 == 0 else pieces
