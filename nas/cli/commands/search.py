"""``nas search``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from nas.cli import completion
from nas.cli.options import Config, DryRun, Json, PrintConfig, Quiet, RunDir, in_earnest, print_json, printed, resources
from nas.cli.settings import flags_from
from nas.search.bounds import Bounds, amount, parse_limit
from nas.search.config import SearchConfig, parse_targets
from nas.search.objectives import LATENCY, MACS, MEMORY, SIZE, Objective

_ELSEWHERE = "Highest latency on another device, as TARGET=ms. May be repeated."


def _limit(objective: Objective) -> Any:
    """The flag of an objective's upper limit, whose value is a number with its unit from here on."""

    def with_unit(limit: str | None) -> str | None:
        return None if limit is None else amount(objective, parse_limit(objective, limit))

    return typer.Option(callback=with_unit, help=objective.bound_help, show_default=False)


@flags_from(
    SearchConfig,
    follow={
        "run": ("precision", "measurements", "objectives", "compare"),
        "max_memory": ("calibration_images", "algorithm", "predictor", "batch", "time", "patience"),
        "storage": ("seed",),
    },
)
def search(
    ctx: typer.Context,
    settings: SearchConfig,
    target: Annotated[
        str,
        typer.Option(
            help="Device; see: nas targets. Or a target file. Several, by commas: a front for each.",
            autocompletion=completion.targets,
        ),
    ] = "cortex-a72",
    run: RunDir = None,
    max_latency: Annotated[str | None, _limit(LATENCY)] = None,
    max_latency_on: Annotated[list[str] | None, typer.Option(help=_ELSEWHERE, show_default=False)] = None,
    max_size: Annotated[str | None, _limit(SIZE)] = None,
    max_macs: Annotated[str | None, _limit(MACS)] = None,
    max_memory: Annotated[str | None, _limit(MEMORY)] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of a database that workers share. Default: the run directory.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Find the measured Pareto front of accuracy, latency and size (or other objectives) for a target."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import following, tell
    from nas.cli.progress import Display
    from nas.cli.tables.search import print_search
    from nas.store.results import SearchResult
    from nas.store.status import next_after_search
    from nas.workflows.resolve import find_run
    from nas.workflows.search import SearchPlan, search_run

    resources("cpu", 0)
    bounds = Bounds.parse(max_latency_on or (), latency=max_latency, size=max_size, macs=max_macs, memory=max_memory)
    directory = find_run(run)
    results = []
    for name in parse_targets(target):
        with Display(quiet or as_json) as progress:
            result = search_run(directory, replace(settings, target=name, bounds=bounds), progress, dry_run, storage)
        results.append(result)
        if isinstance(result, SearchPlan) and not as_json:
            tell(result.summary)
        elif isinstance(result, SearchResult) and not as_json:
            print_search(result)
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    else:
        following(in_earnest() if dry_run else next_after_search(directory, target))
