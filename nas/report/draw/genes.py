"""What each smaller choice of each gene costs: a line per gene, a point per choice."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from nas.store.sensitivity import Lowered, Sensitivity

from .chart import FONT, RIGHT, WIDTH, Scale, drawing
from .marks import Key, point, words
from .markup import tag
from .palette import COLOURS, GREY, GRID, INK, STRONG

_LETTER, _ROW, _TOP, _BOTTOM = 8.2, 19, 62, 50
_NEXT, _FURTHER = COLOURS[:2]
_KEYS = (Key("next smaller choice", _NEXT, "circle"), Key("further down", _FURTHER, "diamond", hollow=True))


def plot_sensitivity(found: Sensitivity) -> Element:
    """Points of accuracy lost by the largest subnet with one gene down, the dearest gene first; a choice that loses
    nothing is on the line of zero or left of it."""
    genes: dict[str, list[Lowered]] = {}
    for row in found.rows:
        genes.setdefault(row.gene, []).append(row)
    lost = [100 * row.lost for row in found.rows]
    left = 12 + _LETTER * max(len(gene) for gene in genes)
    low, high = min(0.0, *lost), max(0.0, *lost)
    margin = 0.05 * (high - low) or 1.0
    bottom = _TOP + _ROW * len(genes)
    x = Scale(low - margin, high + margin, left, WIDTH - RIGHT)
    marks: list[Element] = []
    for i, (gene, rows) in enumerate(genes.items()):
        y = _TOP + _ROW * (i + 0.5)
        marks += [
            tag("line", x1=left, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=GRID),
            words(gene, left - 8, y + 5, "end"),
        ]
        marks += _points(found, rows, x, y)
    return drawing(
        "What one smaller choice costs", WIDTH, bottom + _BOTTOM, [*_frame(x, bottom), *marks], "sensitivity", FONT
    )


def _points(found: Sensitivity, rows: Sequence[Lowered], x: Scale, y: float) -> list[Element]:
    """The choices of a gene; the next smaller one lies on top."""
    nearest = max(rows, key=lambda row: row.choice)
    marks = []
    for row in sorted(rows, key=lambda row: row.choice):
        tip = (
            f"{row.gene}: {row.largest:g} to {row.choice:g}\n{100 * row.accuracy.value:.2f} %, "
            f"{-100 * row.lost:+.2f} points\n{row.macs / 1e6:.2f} MMACs, {100 * found.saved(row):.1f} % saved"
        )
        if row.latency_ms is not None:
            tip += f"\n{row.latency_ms:.3f} ms ({found.target})"
        key = _KEYS[row is not nearest]
        marks.append(point(key.shape, x(100 * row.lost), y, key.colour, 5, key.hollow, tip))
    return marks


def _frame(x: Scale, bottom: float) -> list[Element]:
    """Title, legend, and the axis below with the line of zero."""
    parts = [words("What one smaller choice costs", 4, 16, colour=STRONG)]
    place = 4.0
    for key in _KEYS:
        parts += [key.sample(place + 10, 38), words(key.label, place + 24, 43)]
        place += 24 + _LETTER * len(key.label) + 20
    for value in x.ticks():
        parts.append(tag("line", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 5, stroke=INK))
        parts.append(words(f"{value:g}", x(value), bottom + 20, "middle"))
    parts.append(tag("line", x1=x(0), x2=x(0), y1=_TOP, y2=bottom, stroke=GREY, stroke_width=2))
    parts.append(tag("line", x1=x.start, x2=x.stop, y1=bottom, y2=bottom, stroke=INK))
    parts.append(words("points of accuracy lost", (x.start + x.stop) / 2, bottom + 42, "middle"))
    return parts
