"""``nas report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, Json, print_json


def report(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run directory. Default: the last run.", show_default=False, autocompletion=completion.runs
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file. Default: <run>/report.html.", show_default=False)] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Write what a run found as one HTML page that works offline, with its plots beside it."""
    from nas.cli.console import OUT, following, warn
    from nas.report import write_report
    from nas.store.run import open_run

    directory = open_run(run)
    result = write_report(directory, out)
    if as_json:
        print_json(result)
        return
    for note in result["notes"]:
        warn(note)
    OUT.print(f"wrote {result['report']}", soft_wrap=True, highlight=False, markup=False)
    if result["plots"]:
        folder = Path(result["plots"][0]).parent
        OUT.print(f"wrote {folder}: {len(result['plots'])} plots (SVG)", soft_wrap=True, highlight=False, markup=False)
    following(f"nas export --run {directory.path}" if result["searches"] else f"nas search --run {directory.path}")
