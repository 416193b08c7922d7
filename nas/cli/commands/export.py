"""``nas export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, Json, License, PrintConfig, Quiet, RunDir, print_json, printed, resources
from nas.runtimes.table import RUNTIMES
from search_spaces.schema import to_json


def export(
    ctx: typer.Context,
    candidate: Annotated[
        str,
        typer.Option(help="Id from the front, or best, fastest, smallest, all.", autocompletion=completion.candidates),
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(
            help="Target whose front has the candidate. Default: that of the last search.",
            autocompletion=completion.targets,
        ),
    ] = None,
    run: RunDir = None,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: <run>/export/<target>-<id>.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"Files to write: {','.join(RUNTIMES)} or one of them. Default: the target's.",
            show_default=False,
        ),
    ] = None,
    tuned: Annotated[bool, typer.Option(help="Export the weights of nas finetune all where they were kept.")] = True,
    license: License = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Write a subnet as a plain timm model and as files that their runtimes ran on the test split."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import following, percent, tell
    from nas.store.hints import hint
    from nas.workflows.export import export_model
    from nas.workflows.resolve import find_run

    resources("cpu", 0)
    directory = find_run(run)
    written = export_model(directory, target, candidate, out, formats, license, tuned)
    if as_json:
        print_json([{"path": str(path), **to_json(manifest)} for path, manifest in written])
        return
    for path, manifest in written:
        tell(f"exported: {path}" + ("" if manifest.provenance.finetuned_from is None else "  (fine-tuned weights)"))
        for result in manifest.results:
            accuracy = percent(result.accuracy.value, result.accuracy.low, result.accuracy.high)
            tell(f"  {result.what:<20} {result.split:<7} {accuracy} %")
        for name, reason in (manifest.left_out or {}).items():
            tell(f"  {name} is left out: {reason}")
        for name, remark in (manifest.remarks or {}).items():
            tell(f"  {name}: {remark}")
    if not quiet:
        path, manifest = written[-1]
        following(hint("evaluate", path / list(manifest.files)[-1], run=directory.path))
