"""``nas runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Json, print_json


def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("runs"), as_json: Json = False
) -> None:
    """List the runs and where they stand, newest first; the first is the one that commands take by default."""
    from nas.cli.console import following
    from nas.store.status import list_runs, next_command

    found = list_runs(folder)
    if as_json:
        print_json(found)
        return
    from nas.cli.tables.listing import print_runs

    print_runs(found, folder)
    following(next_command(found))
