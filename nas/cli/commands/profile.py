"""``nas profile``."""

from __future__ import annotations

from pathlib import Path
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
    print_json,
    printed,
    resources,
)


def profile(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help="host: this machine. Others: --bundle, then --import.")] = "host",
    bundle: Annotated[
        Path | None, typer.Option(help="Write a folder to run on another device.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--import", help="results.json that came back from it.", show_default=False)
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Whose subnets to measure. Default: the run's.", show_default=False, autocompletion=completion.spaces
        ),
    ] = None,
    run: RunDir = None,
    networks: Annotated[int, typer.Option(help="Subnets chosen to fit.")] = 24,
    held_out: Annotated[int, typer.Option(help="Random subnets more that judge the fit.")] = 12,
    precision: Annotated[str, typer.Option(help="fp32, int8 or both.")] = "both",
    threads: Annotated[int, typer.Option(min=1, help="Of one inference.")] = 1,
    uint8: Annotated[bool, typer.Option("--uint8", help="The bundle is for x86, not ARM.")] = False,
    classes: Annotated[int | None, typer.Option(min=1, help="Default: the run's.", show_default=False)] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="Default: the run's.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Of the target. Default: the file's.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Target file. Default: host.toml, or <name>.toml.", show_default=False)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Measure latencies on this machine, or on your board, and write a target file from them."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import OUT, following
    from nas.cli.progress import ProfileProgress
    from nas.cli.tables.profile import print_profile
    from nas.workflows.profile import Profile, Request, profile_command
    from nas.workflows.resolve import find_run

    resources("cpu", 0)
    request = Request(
        device, bundle, results, space, None if run is None else find_run(run), networks, held_out, precision, threads,
        uint8, classes, in_chans, name, out, seed,
    )  # fmt: skip
    with ProfileProgress(quiet or as_json or dry_run) as progress:
        result = profile_command(request, progress, dry_run)
    if as_json:
        print_json(result)
        return
    if isinstance(result, Profile):
        print_profile(result)
    else:
        OUT.print(result.summary, soft_wrap=True, highlight=False)
    following(result.next)
