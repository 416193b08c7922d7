"""``nas estimate``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, Json, RunDir, print_json


def estimate(
    model: Annotated[
        str,
        typer.Argument(
            help="timm model, space (its largest), candidate id, best, exported folder, or architecture JSON.",
            autocompletion=completion.candidates,
        ),
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(help="Device or target file. Default: the candidate's.", autocompletion=completion.targets),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side of the square image, in pixels. Default: the model's.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precision policy, such as int8 or int8,blocks.1=w4a8. Default: the candidate's, or the target's."
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every operator.")] = False,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of classes. Default: the model's.")] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="Number of image channels. Default: the model's.")] = None,
    run: RunDir = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Latency, size, MACs and memory of a model on a target, without running it."""
    from nas.cli.console import following
    from nas.cli.tables.estimate import print_estimate
    from nas.store.hints import hint
    from nas.workflows.estimate import estimate_model
    from nas.workflows.resolve import find_run, is_member, is_space

    costs = estimate_model(model, target, resolution, precision, lambda: find_run(run), classes, in_chans, layers)
    if as_json:
        print_json(costs)
    else:
        print_estimate(costs)
        if is_member(model) and target is None:
            following(hint("export", run=find_run(run).path, candidate=costs.model, target=costs.target))
        elif is_space(model):
            following(hint("train-supernet", space=model))
        else:
            following(hint("search", run=run, target=target or costs.target))
