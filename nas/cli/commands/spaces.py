"""``nas spaces``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Json, Quiet, print_json
from search_spaces.errors import UsageError


def spaces(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one space with its genes.", show_default=False, autocompletion=completion.spaces),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Trained run: what each smaller choice costs its largest subnet.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Device whose latencies stand beside.", show_default=False, autocompletion=completion.targets
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Of its search split, at most. Default: 1000.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List the search spaces, or show one; or where the accuracy of a trained run goes."""
    if run is not None:
        if name is not None:
            raise UsageError(f"{name} and `run` both name a space; give one of them")
        _show_sensitivity(run, target, images, quiet, as_json)
        return
    for flag, value in (("target", target), ("images", images)):
        if value is not None:
            raise UsageError(f"`{flag}` {value} is for the measurements of a trained run; give `run` too")
    from nas.cli.console import following
    from nas.cli.tables.listing import print_space, print_spaces
    from nas.store.hints import hint
    from nas.workflows.describe import describe_space, summarise_space
    from search_spaces import PRESETS, get_space
    from search_spaces.families.named import spell_out

    if name is not None:
        facts = describe_space(get_space(spell_out(name)))
        print_json(facts) if as_json else print_space(facts)
    else:
        rows = [summarise_space(space) for space in PRESETS.values()]
        print_json(rows) if as_json else print_spaces(rows)
    if not as_json:
        following(hint("train-supernet", space=name))


def _show_sensitivity(run: Path, target: str | None, images: int | None, quiet: bool, as_json: bool) -> None:
    from nas.cli.console import following
    from nas.cli.options import resources
    from nas.cli.progress import Display
    from nas.cli.tables.sensitivity import print_sensitivity
    from nas.store.hints import hint
    from nas.store.run import open_run
    from nas.training.weights import EVALUATED
    from nas.workflows.sensitivity import measure_sensitivity

    resources("cpu", 0)
    directory = open_run(run)
    with Display(quiet or as_json) as progress:
        found = measure_sensitivity(directory, target, images or EVALUATED, progress)
    if as_json:
        print_json(found)
    else:
        print_sensitivity(found)
        following(hint("report", run=directory.path))
