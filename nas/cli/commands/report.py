"""``nas report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, Json, RunDir, is_typed, print_json
from search_spaces.errors import UsageError


def report(
    ctx: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(help="Run directory; the same as --run.", show_default=False, autocompletion=completion.runs),
    ] = None,
    run: RunDir = None,
    out: Annotated[Path | None, typer.Option(help="HTML file. Default: <run>/report.html.", show_default=False)] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Write what a run found as one HTML page that works offline, with its plots beside it."""
    from nas.cli.console import following, tell, warn
    from nas.report import write_report
    from nas.store.hints import hint
    from nas.store.run import open_run
    from nas.store.status import next_after_report, read_status
    from nas.store.words import count_of

    if directory is not None and run is not None:
        typed = [is_typed(ctx, name) for name in ("directory", "run")]
        if typed[0] == typed[1]:
            raise UsageError(f"{directory} and `run` both name the run; give one of them")
        directory = directory if typed[0] else None  # the other is from the environment or a file
    home = open_run(directory or run)
    result = write_report(home, out)
    if as_json:
        print_json(result)
        return
    for note in result.notes:
        warn(note)
    tell(f"wrote {result.report}")
    if result.plots:
        tell(f"wrote {result.plots[0].parent}: {count_of(len(result.plots), 'plot')} (SVG)")
    command = next_after_report(read_status(home)) if result.searches else hint("search", run=home.path)
    if command is not None:
        following(command)
