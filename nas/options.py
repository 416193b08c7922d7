"""Options that the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import UsageError, unknown_name


def _config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file: keys are flag names; flags and environment win over it."""
    if path is None or ctx.resilient_parsing:
        return path
    import tomllib

    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"--config {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is no TOML file: {error}") from None
    names = {o.lstrip("-"): p.name for p in ctx.command.params for o in p.opts if o.startswith("--")}
    for key in values:
        if key not in names or key == "config":
            raise unknown_name(f"key in {path}", key, set(names) - {"config"})
    ctx.default_map = {**(ctx.default_map or {}), **{names[key]: value for key, value in values.items()}}
    return path


Config = Annotated[
    Path | None, typer.Option(help="TOML file with flags as keys.", callback=_config, is_eager=True, show_default=False)
]
RunDir = Annotated[Path | None, typer.Option(help="Run directory. Default: the last run.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print data only, as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would happen, and stop.")]
