"""``nas spaces``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Json, print_json


def spaces(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one space with its genes.", show_default=False, autocompletion=completion.spaces),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the search spaces."""
    from nas.cli.console import following
    from nas.cli.tables.listing import print_space, print_spaces
    from nas.store.hints import hint
    from nas.workflows.describe import describe_space, summarise_space
    from search_spaces import PRESETS, get_space

    if name is not None:
        facts = describe_space(get_space(name))
        print_json(facts) if as_json else print_space(facts)
    else:
        rows = [summarise_space(space) for space in PRESETS.values()]
        print_json(rows) if as_json else print_spaces(rows)
    if not as_json:
        following(hint("train-supernet", space=name))
