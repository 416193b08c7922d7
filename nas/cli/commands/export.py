"""Commands about what is shipped: writing a subnet, and its accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import (
    Config,
    Json,
    License,
    PrintConfig,
    Quiet,
    RunDir,
    command_line,
    print_json,
    printed,
    resources,
    run_at,
)


def export(
    ctx: typer.Context,
    candidate: Annotated[
        str,
        typer.Option(help="Id from the front, or best, fastest, smallest, all.", autocompletion=completion.candidates),
    ] = "best",
    target: Annotated[
        str | None, typer.Option(help="Whose front. Default: the last search.", autocompletion=completion.targets)
    ] = None,
    run: RunDir = None,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: <run>/export/<target>-<id>.")] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="onnx,executorch or one. Default: the target's.", show_default=False)
    ] = None,
    license: License = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Write a subnet as a plain timm model and as files that their runtimes ran on the test split."""
    if printed(ctx, print_config):
        return
    from nas.cli.display import OUT, following, percent
    from nas.workflows.workflow import run_export

    resources("cpu", 0)
    directory = run_at(run)
    written = run_export(directory, target, candidate, out, formats, license)
    if as_json:
        print_json([{"path": str(path), **facts} for path, facts in written])
        return
    for path, facts in written:
        OUT.print(f"exported: {path}", soft_wrap=True, highlight=False)
        for result in facts["results"]:
            OUT.print(f"  {result['what']:<20} {result['split']:<7} {percent(result)} %", highlight=False)
    if not quiet:
        path, facts = written[-1]
        file = str(path / list(facts["files"])[-1])
        following(command_line(["nas", "evaluate", file, "--run", str(directory.path)]))


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
    from nas.cli.display import OUT, following, percent
    from nas.workflows.workflow import run_evaluate

    resources("cpu", 0)
    directory = run_at(run, model)
    result = run_evaluate(directory, model, split, precision, calibration_images)
    if as_json:
        print_json(result)
    else:
        OUT.print(f"{result['what']}  {split}  {percent(result)} %  ({result['images']} images)", soft_wrap=True)
        if "latency_ms" in result:
            OUT.print(f"latency on this machine, one thread: {result['latency_ms']:.3f} ms", highlight=False)
        following(command_line(["nas", "search", "--run", str(directory.path), "--target", "host"]))
