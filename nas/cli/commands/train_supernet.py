"""``nas train-supernet``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion, options
from nas.cli.settings import flags_from
from nas.training.config import TrainConfig
from search_spaces.schema import to_json


@flags_from(
    TrainConfig,
    follow={
        "data_root": ("space", "out"),
        "batch_size": ("strategy", "adapt_share"),
        "optimizer": ("lr", "base_batch"),
        "cutmix": ("quantization_aware", "quantization_phase", "quantization_noise"),
        "init": ("seed",),
    },
    complete={"space": completion.spaces, "strategy": completion.strategies},
)
def train_supernet(
    ctx: typer.Context,
    settings: TrainConfig,
    out: Annotated[Path | None, typer.Option(help="Run directory. Default: runs/<data>-<space>.")] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            help="Peak learning rate, or auto for a short test that finds one. Default: 0.1, from given weights 0.01; "
            "with AdamW and its like 0.001 and 0.00002.",
            show_default=False,
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from the weights in a .safetensors or .pth file.", show_default=False)
    ] = None,
    device: options.Device = "auto",
    workers: options.Workers = -1,
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch, one per GPU with CUDA; or use torchrun.")
    ] = 1,
    save_seconds: options.SaveSeconds = 30.0,
    log: Annotated[str, typer.Option(help="Send the metrics to tensorboard, wandb, or both, too.")] = "",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    dry_run: options.DryRun = False,
    config: options.Config = None,
    print_config: options.PrintConfig = False,
) -> None:
    """Train a once-for-all supernet; the same command again resumes it."""
    if options.printed(ctx, print_config):
        return
    from nas.cli.console import following, tell
    from nas.cli.progress import Display
    from nas.data.opening import absolute
    from nas.store.files import absolute_path
    from nas.store.hints import hint
    from nas.store.run import Run
    from nas.training.config import Resources
    from nas.training.loggers import parse_loggers
    from nas.training.loop import Interrupted
    from nas.training.processes.launch import check_devices, inside, join_run, launch, processes_here
    from nas.training.processes.world import check_processes
    from nas.training.rehearsal.lr_finder import parse_lr
    from nas.workflows.train import Planned, settle_space
    from nas.workflows.train import train_supernet as work
    from search_spaces.families.named import spell_out

    rate = None if lr is None else parse_lr(lr)
    settings = replace(
        settings,
        space=settings.space if options.is_repeated(ctx, "space") else spell_out(settings.space),
        source=absolute(settings.source),
        root=settings.root and str(Path(settings.root).resolve()),
        lr=rate,
        lr_auto=lr is not None and rate is None,
        teacher=None if settings.teacher is None else absolute_path(settings.teacher),
        init=None if init is None else str(init.resolve()),
    )
    chosen, workers = options.resources(device, workers, processes_here(nproc))
    loggers = parse_loggers(log)
    if nproc > 1 and not inside():
        check_devices(nproc, chosen)
        check_processes(nproc, settings.batch_size, settings.accumulate)
        if not dry_run:
            raise SystemExit(launch(nproc, ctx.obj))
    with join_run(chosen) as world:
        shared = Resources(world.device, workers, save_seconds, log=loggers)
        with Display(quiet or as_json or not world.main) as progress:
            settled = settle_space(Run(out) if out else None, settings, progress)
            run = settled.run
            try:
                result = work(run, settled.config, shared, progress, dry_run, world, settled.dataset)
            except Interrupted:
                raise typer.Exit(options.EXIT_INTERRUPTED) from None
    if result is None:
        return
    if as_json:
        options.print_json({"run": str(run.path), **to_json(result)})
    else:
        tell(result.summary if isinstance(result, Planned) else f"trained: {run.path}")
        following(options.in_earnest() if dry_run else hint("search", run=run.path, target="cortex-a72"))
