"""Colours of a report, each with its replacement on a dark screen.

People who don't see red, green or blue can distinguish the first five (a test simulates it). No chart relies on colour
alone: marks have shapes, and lines have dashes.
"""

from __future__ import annotations

COLOURS = ("#0072b2", "#a8390a", "#262626", "#7a3d7a", "#5fa300")
"""Colours of series, in this order."""

PAPER, INK, GRID, GREY = "#ffffff", "#4b5768", "#d8dee6", "#8a8fa0"
"""Background, text and axes, grid lines, and marks for comparison."""

KERNELS = {3: "#a6cee3", 5: "#2171b5", 7: "#08306b"}
"""Colours of blocks by the side of their depthwise kernel."""

ON_PALE, ON_DEEP = "#1c2431", "#fefefe"
"""Text on the palest of these, and on the others."""

STRONG = "#1c2430"
"""Colour of titles."""

DARK = {
    PAPER: "#14181f", INK: "#b9c4d2", GRID: "#323b48", GREY: "#7a8698",
    "#0072b2": "#5bb8f0", "#a8390a": "#f8855b", "#262626": "#eef5fa", "#7a3d7a": "#a55cf0", "#5fa300": "#ffcc09",
    "#a6cee3": "#2c546f", "#2171b5": "#5ba3d8", "#08306b": "#cfe8fb", ON_PALE: "#f2f5f8", ON_DEEP: "#0d1117",
    STRONG: "#e8edf3",
}  # fmt: skip
"""Colour on a dark screen by colour on paper."""
