"""Options that the commands share, and what they make of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import UsageError, unknown_name

EXIT_INTERRUPTED = 130


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


def run_at(path: Path | None, model: str | None = None) -> Any:
    """The run of a directory; None: the one that ``model``, an exported file, lies in, or the run touched last."""
    from .run import Run, opened

    if path is None and model is not None:  # an exported file lies inside its run
        for parent in Path(model).resolve().parents:
            if (parent / "run.json").exists():
                return Run(parent)
    return opened(path)


def resources(device: str, workers: int, processes: int = 1) -> tuple[str, int]:
    """Choose the device, and share the cores between the processes of a run, and in each between computing and loading.

    Args:
        workers: a process; -1: chosen.
        processes: on this machine.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this torch sees no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = max(1, (os.cpu_count() or 1) // processes)
    if workers < 0:
        workers = min(8, cores // 2)
    # Half of the cores: small networks gain little from more, and threads that must wait for each other while another
    # process has a core cost many times what they gain.
    torch.set_num_threads(max(1, min(8, cores // 2)))
    return device, workers


def print_json(value: Any) -> None:
    """Data on stdout."""
    typer.echo(json.dumps(value, indent=2))
