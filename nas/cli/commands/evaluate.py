"""``nas evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import (
    Config,
    Json,
    RunDir,
    command_line,
    print_json,
    resources,
)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Exported folder or file, candidate id, or architecture JSON.", autocompletion=completion.candidates
        ),
    ] = "best",
    split: Annotated[str, typer.Option(help="search, test or train.")] = "test",
    precision: Annotated[
        str, typer.Option(help="Of an architecture: int8, fp32, or a policy, as int8,blocks.1=w4a8.")
    ] = "int8",
    calibration_images: Annotated[
        int | None, typer.Option(min=2, help="Default: the search's, or 256.", show_default=False)
    ] = None,
    run: RunDir = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Accuracy of an exported file, a candidate of a front, or any architecture of the space."""
    from nas.cli.console import OUT, following, percent
    from nas.workflows.evaluate import evaluate_model
    from nas.workflows.resolve import find_run

    resources("cpu", 0)
    directory = find_run(run, model)
    result = evaluate_model(directory, model, split, precision, calibration_images)
    if as_json:
        print_json(result)
    else:
        OUT.print(f"{result['what']}  {split}  {percent(result)} %  ({result['images']} images)", soft_wrap=True)
        if "latency_ms" in result:
            OUT.print(f"latency on this machine, one thread: {result['latency_ms']:.3f} ms", highlight=False)
        following(command_line(["nas", "search", "--run", str(directory.path), "--target", "host"]))
