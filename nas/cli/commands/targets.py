"""``nas targets``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Json, print_json


def targets(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show one target, or a target file, in full.", show_default=False, autocompletion=completion.targets
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the targets, and how far to trust their latencies."""
    from nas.cli.console import following
    from nas.cli.tables.listing import print_target, print_targets
    from nas.store.hints import hint
    from nas.workflows.describe import describe_target, summarise_target
    from predictors.targets.card import available_targets, shipped_card
    from predictors.targets.target import load_target

    if name is not None:
        facts = describe_target(load_target(name))
        print_json(facts) if as_json else print_target(facts)
    else:
        rows = [summarise_target(shipped_card(each)) for each in available_targets()]
        print_json(rows) if as_json else print_targets(rows)
    if not as_json:
        following(hint("search", target=name or "cortex-a72"))
