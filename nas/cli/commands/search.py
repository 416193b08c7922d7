"""Commands that look for subnets: the search for a target, and what a network costs there."""

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
    command_line,
    in_earnest,
    print_json,
    printed,
    resources,
    run_at,
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
        typer.Option(help="How predictions are searched: archive; pymoo's nsga2, nsga3, smsemoa, agemoea, agemoea2."),
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
    from nas.cli.display import OUT, SearchProgress, following, print_search
    from nas.search.config import SearchConfig, parse_targets
    from nas.search.objectives import Bounds, parse_bounds_elsewhere
    from nas.workflows.workflow import run_search

    resources("cpu", 0)
    bounds = Bounds(
        latency_ms=max_latency,
        size_bytes=max_size and max_size * 1e6,
        macs=max_macs and max_macs * 1e6,
        memory_bytes=max_memory and max_memory * 1e3,
        elsewhere=parse_bounds_elsewhere(max_latency_on or []),
    )
    directory = run_at(run)
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
            results.append(run_search(directory, settings, progress, dry_run, storage))
        if dry_run and not as_json:
            OUT.print(results[-1]["summary"], soft_wrap=True, highlight=False)
        elif not as_json:
            print_search(results[-1])
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    else:
        following(in_earnest() if dry_run else f"nas export --run {directory.path} --target {target}")


def estimate(
    model: Annotated[
        str,
        typer.Argument(
            help="timm model, candidate id, best, exported folder, or architecture JSON.",
            autocompletion=completion.candidates,
        ),
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(help="Device or target file. Default: the candidate's.", autocompletion=completion.targets),
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Image side. Default: the model's.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="As int8, or int8,blocks.1=w4a8. Default: the candidate's, or the target's.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every operator.")] = False,
    classes: Annotated[int | None, typer.Option(min=1, help="Default: the model's.")] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="Default: the model's.")] = None,
    run: RunDir = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Latency, size, MACs and memory of a model on a target, without running it."""
    from nas.cli.display import following
    from nas.cli.listing import print_estimate
    from nas.workflows.estimate import estimate as work

    facts = work(model, target, resolution, precision, lambda: run_at(run), classes, in_chans, layers)
    if as_json:
        print_json(facts)
    else:
        print_estimate(facts)
        own = [] if run is None else ["--run", str(run)]
        following(command_line(["nas", "search", *own, "--target", target or facts["target"]]))
