"""``nas finetune``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion, options
from nas.cli.settings import flags_from
from nas.training.config import FinetuneConfig


@flags_from(
    FinetuneConfig,
    follow={"run": ("epochs", "budget", "lr", "teacher", "netaug", "quantization_aware"), "license": ("seed",)},
)
def finetune(
    ctx: typer.Context,
    settings: FinetuneConfig,
    candidate: Annotated[
        str,
        typer.Argument(
            help="Id from the front, or best, fastest, smallest; all: the whole front; or architecture JSON.",
            autocompletion=completion.candidates,
        ),
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(
            help="Target whose front has the candidate. Default: that of the last search.",
            autocompletion=completion.targets,
        ),
    ] = None,
    run: options.RunDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export. Default: below <run>/export.", show_default=False)
    ] = None,
    license: options.License = None,
    device: options.Device = "auto",
    workers: options.Workers = -1,
    save_seconds: options.SaveSeconds = 30.0,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    dry_run: options.DryRun = False,
    config: options.Config = None,
    print_config: options.PrintConfig = False,
) -> None:
    """Train one subnet or a whole front further, and export it; the same command again resumes it."""
    if options.printed(ctx, print_config):
        return
    from nas.cli.console import following, tell
    from nas.cli.progress import Display
    from nas.cli.tables.finetune import print_finetuned, print_tuned_front
    from nas.store.files import absolute_path
    from nas.store.hints import hint
    from nas.training.config import Resources
    from nas.training.loop import Interrupted
    from nas.workflows.describe import ALL
    from nas.workflows.finetune import FinetunePlan, FinetuneResult
    from nas.workflows.finetune import finetune as work
    from nas.workflows.finetune_front import FrontResult, finetune_front
    from nas.workflows.resolve import find_run
    from search_spaces.schema import to_json

    directory = find_run(run)
    settings = replace(settings, teacher=absolute_path(settings.teacher))
    chosen, workers = options.resources(device, workers)
    shared = Resources(chosen, workers, save_seconds)
    result: FinetuneResult | FrontResult | FinetunePlan
    with Display(quiet or as_json) as progress:
        try:
            if candidate == ALL:
                result = finetune_front(directory, target, settings, shared, progress, out, dry_run, license)
            else:
                result = work(directory, candidate, target, settings, shared, progress, out, dry_run, license)
        except Interrupted:
            raise typer.Exit(options.EXIT_INTERRUPTED) from None
    if as_json:
        options.print_json({"run": str(directory.path), **to_json(result)})
    elif isinstance(result, FinetunePlan):
        tell(result.summary)
        following(options.in_earnest())
    elif isinstance(result, FrontResult):
        print_tuned_front(result)
        following(hint("report", directory.path))
    else:
        print_finetuned(result)
        following(hint("evaluate", result.path, run=directory.path))
