"""The report as files: one page that needs nothing else, and each front's plot as an SVG beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from search_spaces.errors import UsageError, UserError

from ..files import atomic_write
from ..run import Run
from . import sections
from .gather import Material, gather
from .markup import html, svg_file, tag
from .plots import front_plot
from .style import SCRIPT, STYLE

_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, ArithmeticError, UserError)
"""What reading a damaged file, or one of another version, ends in."""


def write_report(run: Run, out: Path | None = None) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        out: the page; None: ``report.html`` in the run directory. Plots are beside it: ``report-<target>.svg``.

    Returns:
        ``report`` and ``plots``, the paths written; ``notes``, what could not be read.

    Raises:
        UsageError: ``out`` is a directory.
        UserError: there is no run.
    """
    path = out or run.path / "report.html"
    if path.is_dir():
        raise UsageError(f"--out {path} is a directory; give a file in it: --out {path / 'report.html'}")
    material = gather(run)
    body, plots = _body(material)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in plots.items():
        file = path.with_name(f"{path.stem}-{name}.svg")
        atomic_write(file, svg_file(plot))
        written.append(str(file))
    atomic_write(path, html(f"nas: {material.name}", STYLE, SCRIPT, body))
    return {"run": str(run.path), "report": str(path), "plots": written, "notes": material.notes}


def _body(material: Material) -> tuple[list[Element], dict[str, Element]]:
    """The page's content, and the plot of each front that could be drawn."""
    parts: list[Element] = []
    plots: dict[str, Element] = {}

    def add(what: str, section: Callable[[], list[Element]]) -> bool:
        try:
            parts.extend(section())
        except _DAMAGE as error:
            reason = str(error) if isinstance(error, UserError) else repr(error)
            material.notes.append(f"{what} is damaged or of another version of nas, and left out: {reason}")
            return False
        return True

    for name in material.searches:
        file = f"search-{name}.json"
        if add(file, lambda name=name: sections.search(material, name)):  # type: ignore[misc]
            plots[name] = front_plot(material.searches[name])
            add(f"the architectures of {file}", lambda name=name: sections.winners(material, name))  # type: ignore[misc]
    add("metrics.jsonl", lambda: sections.training(material))
    add("the configuration", lambda: sections.settings(material))
    add("the provenance", lambda: sections.provenance(material))
    return [*_top(material, list(plots)), *parts, tag("div", id="tip", role="tooltip", hidden="")], plots


def _top(material: Material, targets: list[str]) -> list[Element]:
    config = material.content["config"]
    links = [tag("li", tag("a", f"target {name}", href=f"#target-{name}")) for name in targets]
    words = f"Supernet of the space {config.get('space')}, trained on {config.get('source')}."
    nothing = [] if targets else [tag("p", "No search yet: nas search")]
    notes = [tag("p", note, class_="note") for note in material.notes]
    return [tag("h1", f"Run {material.name}"), tag("p", words), *notes, tag("ul", *links), *nothing]
