"""The report as files: one HTML page that needs no other file, and its main plots as SVG files beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from nas.report.draw.markup import html, note, svg_file, tag
from nas.store.files import atomic_write
from nas.store.hints import hint
from nas.store.run import Run
from search_spaces.errors import UsageError, UserError

from .gather import Material, gather
from .script import SCRIPT
from .searches import describe_search, list_winners
from .sections import describe_provenance, describe_sensitivity, describe_settings, describe_training
from .style import STYLE
from .winners import draw_front

_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, ArithmeticError, UserError)
"""Errors from a file whose parts are sound and don't agree, or that another version wrote."""


@dataclass(frozen=True)
class Report:
    """What was written: a page with the searches for some targets, and plots; ``notes``: what could not be read, in
    words."""

    run: Path
    report: Path
    searches: tuple[str, ...]
    plots: tuple[Path, ...]
    notes: tuple[str, ...]


def write_report(run: Run, out: Path | None = None) -> Report:
    """Write the report of a run.

    Args:
        out: path of the page; None: ``report.html`` in the run directory. The plots are written to a folder beside it:
            ``report-plots/<target>-latency.svg`` and so on.

    Raises:
        UsageError: ``out`` is a directory.
        UserError: there is no run.
    """
    page = out or run.path / "report.html"
    if page.is_dir():
        raise UsageError(f"`out` {page} is a directory; give a file in it, such as {page / 'report.html'}")
    material = gather(run)
    body, targets = _make_body(material)
    folder = page.with_name(f"{page.stem}-plots")
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    for plot in (svg for part in body for svg in part.iter("svg") if svg.get("data-file")):
        plots.append(folder / (re.sub(r"[^\w.-]", "_", plot.get("data-file", "")) + ".svg"))
        atomic_write(plots[-1], svg_file(plot))
    atomic_write(page, html(f"nas: {material.name}", STYLE, SCRIPT, body))
    return Report(run.path, page, tuple(targets), tuple(plots), tuple(material.notes))


def _make_body(material: Material) -> tuple[list[Element], list[str]]:
    """The page's content and the targets in it; damaged parts are left out and named."""

    def attempt(what: str, part: Callable[[], list[Element]]) -> list[Element]:
        try:
            return part()
        except _DAMAGE as error:
            reason = str(error) if isinstance(error, UserError) else repr(error)
            material.notes.append(f"{what} is damaged or of another version of nas, and left out: {reason}")
            return []

    sections: dict[str, Element] = {}
    for name in material.searches:
        file = f"search-{name}.json"
        main = attempt(file, lambda name=name: describe_search(material, name))  # type: ignore[misc]
        if main:
            drawings = attempt(f"the architectures of {file}", lambda name=name: draw_front(material, name))  # type: ignore[misc]
            sections[name] = tag("section", *main[:-2], *drawings, *main[-2:])
    parts = [
        *attempt("the winners", lambda: list_winners(material, list(sections))),
        *sections.values(),
        *attempt("metrics.jsonl", lambda: describe_training(material)),
        *attempt("sensitivity.json", lambda: describe_sensitivity(material)),
        *attempt("the configuration", lambda: describe_settings(material)),
        *attempt("the provenance", lambda: describe_provenance(material)),
    ]
    tip = tag("div", id="tip", role="tooltip", hidden="")
    return [*_make_top(material, list(sections)), tag("main", *parts), tip], list(sections)


def _make_top(material: Material, targets: list[str]) -> list[Element]:
    places = {f"target-{name}": f"Target {name}" for name in targets}
    measured = {} if material.sensitivity is None else {"sensitivity": "Where the accuracy goes"}
    places |= {"training": "Training", **measured, "configuration": "Configuration", "versions": "Versions and hashes"}
    links = [tag("a", name, href=f"#{place}") for place, name in places.items()]
    trained = material.record.settings
    summary = f"Supernet of the space {trained.space}, trained on {trained.source}."
    start = [] if targets else [note(f"No search yet: {hint('search', run=material.path)}")]
    return [
        tag("h1", f"Run {material.name}"), tag("p", summary), *map(note, material.notes), *start, tag("nav", *links)
    ]  # fmt: skip
