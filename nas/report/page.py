"""The report as files: one HTML page that needs no other file, and its main plots as SVG files beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from nas.report.draw.markup import html, note, svg_file, tag
from nas.store.files import atomic_write
from nas.store.run import Run
from search_spaces.errors import UsageError, UserError

from .gather import Material, gather
from .script import SCRIPT
from .searches import method, overview, search
from .sections import provenance, settings, training
from .style import STYLE
from .winners import winners

_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, ArithmeticError, UserError)
"""What reading a damaged file, or one of another version, ends in."""


def write_report(run: Run, out: Path | None = None) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        out: path of the page; None: ``report.html`` in the run directory. The plots are written to a folder beside it:
            ``report-plots/<target>-latency.svg`` and so on.

    Returns:
        ``report`` and ``plots``, the paths written; ``searches``, targets that could be told of; ``notes``, what could
        not be read.

    Raises:
        UsageError: ``out`` is a directory.
        UserError: there is no run.
    """
    path = out or run.path / "report.html"
    if path.is_dir():
        raise UsageError(f"--out {path} is a directory; give a file in it: --out {path / 'report.html'}")
    material = gather(run)
    body, searches = _body(material)
    folder = path.with_name(f"{path.stem}-plots")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in (svg for part in body for svg in part.iter("svg") if svg.get("data-file")):
        file = folder / (re.sub(r"[^\w.-]", "_", plot.get("data-file", "")) + ".svg")
        atomic_write(file, svg_file(plot))
        written.append(str(file))
    atomic_write(path, html(f"nas: {material.name}", STYLE, SCRIPT, body))
    return {"run": str(run.path), "report": str(path), "searches": searches, "plots": written, "notes": material.notes}


def _body(material: Material) -> tuple[list[Element], list[str]]:
    """The page's content and the targets in it; what is damaged is left out and named."""

    def safely(what: str, part: Callable[[], list[Element]]) -> list[Element]:
        try:
            return part()
        except _DAMAGE as error:
            reason = str(error) if isinstance(error, UserError) else repr(error)
            material.notes.append(f"{what} is damaged or of another version of nas, and left out: {reason}")
            return []

    sections: dict[str, Element] = {}
    for name in material.searches:
        file = f"search-{name}.json"
        main = safely(file, lambda name=name: [*search(material, name), *method(material, name)])  # type: ignore[misc]
        if main:
            drawings = safely(f"the architectures of {file}", lambda name=name: winners(material, name))  # type: ignore[misc]
            sections[name] = tag("section", *main[:-2], *drawings, *main[-2:])
    parts = [
        *safely("the winners", lambda: overview(material, list(sections))),
        *sections.values(),
        *safely("metrics.jsonl", lambda: training(material)),
        *safely("the configuration", lambda: settings(material)),
        *safely("the provenance", lambda: provenance(material)),
    ]
    tip = tag("div", id="tip", role="tooltip", hidden="")
    return [*_top(material, list(sections)), tag("main", *parts), tip], list(sections)


def _top(material: Material, targets: list[str]) -> list[Element]:
    config = material.content.config
    places = {f"target-{name}": f"Target {name}" for name in targets}
    places |= {"training": "Training", "configuration": "Configuration", "versions": "Versions and hashes"}
    links = [tag("a", name, href=f"#{place}") for place, name in places.items()]
    words = f"Supernet of the space {config.get('space')}, trained on {config.get('source')}."
    nothing = [] if targets else [note(f"No search yet: nas search --run {material.path}")]
    return [
        tag("h1", f"Run {material.name}"), tag("p", words), *map(note, material.notes), *nothing, tag("nav", *links)
    ]  # fmt: skip
