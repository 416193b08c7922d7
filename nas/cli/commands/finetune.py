"""``nas finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import (
    EXIT_INTERRUPTED,
    Config,
    Device,
    DryRun,
    Json,
    License,
    PrintConfig,
    Quiet,
    RunDir,
    SaveSeconds,
    Workers,
    in_earnest,
    print_json,
    printed,
    resources,
)
from nas.cli.settings import flags_from
from nas.training.config import FinetuneConfig


@flags_from(FinetuneConfig, follow={"run": ("epochs", "lr", "netaug", "quantization_aware"), "license": ("seed",)})
def finetune(
    ctx: typer.Context,
    settings: FinetuneConfig,
    candidate: Annotated[
        str,
        typer.Argument(
            help="Id from the front, or best, fastest, smallest; or architecture JSON.",
            autocompletion=completion.candidates,
        ),
    ] = "best",
    target: Annotated[
        str | None, typer.Option(help="Whose front. Default: the last search.", autocompletion=completion.targets)
    ] = None,
    run: RunDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export. Default: below <run>/export.", show_default=False)
    ] = None,
    license: License = None,
    device: Device = "auto",
    workers: Workers = -1,
    save_seconds: SaveSeconds = 30.0,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Train one subnet further, and export it if that made it better; the same command again resumes it."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import OUT, following
    from nas.cli.progress import TrainingProgress
    from nas.cli.tables.search import print_finetuned
    from nas.store.hints import hint
    from nas.training.config import Resources
    from nas.training.loop import Interrupted
    from nas.workflows.finetune import FinetunePlan
    from nas.workflows.finetune import finetune as work
    from nas.workflows.resolve import find_run
    from search_spaces.schema import to_json

    directory = find_run(run)
    chosen, workers = resources(device, workers)
    shared = Resources(chosen, workers, save_seconds)
    with TrainingProgress(quiet or as_json) as progress:
        try:
            result = work(directory, candidate, target, settings, shared, progress, out, dry_run, license)
        except Interrupted:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json({"run": str(directory.path), **to_json(result)})
    elif isinstance(result, FinetunePlan):
        OUT.print(result.summary, soft_wrap=True, highlight=False)
        following(in_earnest())
    else:
        print_finetuned(result)
        following(hint("evaluate", result.path, run=directory.path))
