"""Commands that look at what there is and change nothing of it: a run's report, the runs, this machine, the
spaces."""

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
    from nas.cli.display import OUT, following, warn
    from nas.report import write_report
    from nas.store.run import opened

    directory = opened(run)
    result = write_report(directory, out)
    if as_json:
        print_json(result)
        return
    for note in result["notes"]:
        warn(note)
    OUT.print(f"wrote {result['report']}", soft_wrap=True, highlight=False, markup=False)
    if result["plots"]:
        folder, count = Path(result["plots"][0]).parent, len(result["plots"]) // 2
        OUT.print(f"wrote {folder}: {count} plots, as SVG and PNG", soft_wrap=True, highlight=False, markup=False)
    following(f"nas export --run {directory.path}" if result["searches"] else f"nas search --run {directory.path}")


def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs and where they stand, newest first; the first is the one that commands take by default."""
    from nas.cli.display import following
    from nas.store.status import next_command
    from nas.store.status import runs as work

    found = work(folder)
    if as_json:
        print_json(found)
        return
    from nas.cli.listing import print_runs

    print_runs(found, folder)
    following(next_command(found))


def doctor(as_json: Json = False) -> None:
    """Look at this machine: versions, processors, extras, known traps, disk and memory; each problem with its fix."""
    from dataclasses import asdict

    from nas.cli.display import following
    from nas.workflows.doctor import as_text, examine

    found = examine()
    bad = sum(each.state == "problem" for each in found)
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        typer.echo(as_text(found))
        following("mend the problems above, then: nas doctor" if bad else "nas train-supernet")
    raise typer.Exit(1 if bad else 0)


def spaces(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one space with its genes.", show_default=False, autocompletion=completion.spaces),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the search spaces."""
    from nas.cli.display import following
    from nas.cli.listing import describe_space, print_space, print_spaces, space_row
    from search_spaces import PRESETS, get_space

    if name is not None:
        facts = describe_space(get_space(name))
        print_json(facts) if as_json else print_space(facts)
    else:
        rows = [space_row(space) for space in PRESETS.values()]
        print_json(rows) if as_json else print_spaces(rows)
    if not as_json:
        following(f"nas train-supernet --space {name or 'mbv3-tiny'}")
