"""``nas search``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import (
    Config,
    DryRun,
    Json,
    PrintConfig,
    Quiet,
    RunDir,
    Seed,
    in_earnest,
    print_json,
    printed,
    resources,
)


def search(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Option(
            help="Device; see: nas targets. Or a target file. Several, by commas: a front for each.",
            autocompletion=completion.targets,
        ),
    ] = "cortex-a72",
    run: RunDir = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Default: the target's. Several, as fp32,int8,w4a8, or mixed: searched for every stage.",
            show_default=False,
        ),
    ] = None,
    measurements: Annotated[int, typer.Option(min=4, help="Subnets to measure for a target, baselines apart.")] = 40,
    objectives: Annotated[
        str, typer.Option(help="Two to four of accuracy, latency, latency:TARGET, size, macs, memory.")
    ] = "accuracy,latency,size",
    compare: Annotated[
        str, typer.Option(help="Baselines at as many measurements: random, uniform, nsga2, or none.")
    ] = "random",
    max_latency: Annotated[float | None, typer.Option(min=0.0, help="ms", show_default=False)] = None,
    max_latency_on: Annotated[
        list[str] | None, typer.Option(help="TARGET=ms: on another device. May be repeated.", show_default=False)
    ] = None,
    max_size: Annotated[float | None, typer.Option(min=0.0, help="MB of weights", show_default=False)] = None,
    max_macs: Annotated[float | None, typer.Option(min=0.0, help="millions", show_default=False)] = None,
    max_memory: Annotated[
        float | None, typer.Option(min=0.0, help="kB of activations at the worst moment", show_default=False)
    ] = None,
    calibration_images: Annotated[int, typer.Option(min=2, help="Images that a subnet is calibrated on.")] = 256,
    algorithm: Annotated[
        str,
        typer.Option(help="How predictions are searched: archive; or pymoo's nsga2, for comparison."),
    ] = "archive",
    predictor: Annotated[
        str, typer.Option(help="Of accuracy: gp, boosting, mlp; auto: by cross-validation on the measurements.")
    ] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Candidates chosen at once.")] = 6,
    time: Annotated[
        float | None, typer.Option(help="Seconds after which no batch is begun.", show_default=False)
    ] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop once so many measurements gain less than 0.1 % hypervolume; 0: never.")
    ] = 0,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of a database that workers share. Default: the run directory.", show_default=False),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Find the measured Pareto front of accuracy, latency and size (or other objectives) for a target."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import OUT, following
    from nas.cli.progress import SearchProgress
    from nas.cli.tables.search import print_search
    from nas.search.config import SearchConfig, parse_targets
    from nas.search.objectives import make_bounds, parse_bounds_elsewhere
    from nas.store.hints import hint
    from nas.workflows.resolve import find_run
    from nas.workflows.search import search_run

    resources("cpu", 0)
    limits = {"latency": max_latency, "size": max_size, "macs": max_macs, "memory": max_memory}
    bounds = make_bounds(limits, parse_bounds_elsewhere(max_latency_on or []))
    directory = find_run(run)
    results = []
    for name in parse_targets(target):
        settings = SearchConfig(
            target=name,
            precision=precision or "",
            measurements=measurements,
            bounds=bounds,
            seed=seed,
            calibration_images=calibration_images,
            algorithm=algorithm,
            predictor=predictor,
            batch=batch,
            seconds=time,
            patience=patience,
            objectives=objectives,
            compare=compare,
        )
        with SearchProgress(quiet or as_json) as progress:
            results.append(search_run(directory, settings, progress, dry_run, storage))
        if dry_run and not as_json:
            OUT.print(results[-1]["summary"], soft_wrap=True, highlight=False)
        elif not as_json:
            print_search(results[-1])
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    else:
        following(in_earnest() if dry_run else hint("export", run=directory.path, target=target))
