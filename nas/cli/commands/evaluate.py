"""``nas evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, Json, RunDir, print_json, resources


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Exported folder or file, candidate id, or architecture JSON.", autocompletion=completion.candidates
        ),
    ] = "best",
    split: Annotated[str, typer.Option(help="Images to measure on: search, test or train.")] = "test",
    precision: Annotated[
        str, typer.Option(help="Precision of an architecture: int8, fp32, or a policy such as int8,blocks.1=w4a8.")
    ] = "int8",
    calibration_images: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Images that an architecture is calibrated on. Default: as many as in the search, or 256.",
            show_default=False,
        ),
    ] = None,
    run: RunDir = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure again, even if the run has measured it before.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Accuracy of an exported file, a candidate of a front, or any architecture of the space."""
    from nas.cli.console import ERR, following, percent, tell
    from nas.store.hints import hint
    from nas.workflows.evaluate import evaluate_model
    from nas.workflows.resolve import find_run

    resources("cpu", 0)
    directory = find_run(run, model)
    result = evaluate_model(directory, model, split, precision, calibration_images, again)
    if as_json:
        print_json(result)
    else:
        images = result.score.record()["images"]
        accuracy = percent(result.score.value, *result.score.interval())
        tell(f"{result.what}  {split}  {accuracy} %  ({images} images)")
        if result.latency_ms is not None:
            tell(f"latency on this machine, one thread: {result.latency_ms:.3f} ms")
        if result.recalled:
            tell("measured before and kept in the run; --again measures it anew", ERR)
        following(hint("report", run=directory.path))
