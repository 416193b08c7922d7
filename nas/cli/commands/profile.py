"""``nas profile``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import Config, DryRun, Json, PrintConfig, Quiet, RunDir, print_json, printed, resources
from nas.cli.settings import flags_from
from nas.workflows.profile import Profile, Request, profile_command


@flags_from(
    Request,
    follow={
        "pairs": ("space",),
        "run": ("networks", "held_out", "precision", "threads", "runtime", "uint8", "classes", "in_chans", "name"),
        "out": ("seed",),
    },
    complete={"space": completion.spaces},
)
def profile(
    ctx: typer.Context,
    settings: Request,
    device: Annotated[str, typer.Argument(help="host: this machine. Others: --bundle, then --import.")] = "host",
    bundle: Annotated[
        Path | None, typer.Option(help="Write a folder to run on another device.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--import", help="results.json that came back from it.", show_default=False)
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Latencies that you have: .csv with the columns network and ms.", show_default=False),
    ] = None,
    run: RunDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Target file. Default: host.toml, or <name>.toml.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Measure latencies on this machine, or on your board, and write a target file from them."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import following, tell
    from nas.cli.progress import Display
    from nas.cli.tables.estimate import print_profile
    from nas.workflows.resolve import find_run
    from search_spaces.families.named import spell_out

    resources("cpu", 0)
    request = replace(
        settings, device=device, bundle=bundle, results=results, pairs=pairs, out=out,
        run=None if run is None else find_run(run), space=settings.space and spell_out(settings.space),
    )  # fmt: skip
    with Display(quiet or as_json or dry_run) as progress:
        result = profile_command(request, progress, dry_run)
    if as_json:
        print_json(result)
        return
    if isinstance(result, Profile):
        print_profile(result)
    else:
        tell(result.summary)
    following(result.next)
