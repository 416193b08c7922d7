"""Options that the commands share, and what they make of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from nas.store.settings import LAYOUT, SEED
from search_spaces.errors import UsageError
from search_spaces.schema import to_json

from . import completion
from .configuration import as_toml, check_environment, defaults_from

EXIT_INTERRUPTED = 130
EXIT_CUT = 141
"""Whoever read the output has gone, as ``head`` does; what SIGPIPE gives in a shell."""


def _config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a file; flags and environment win over it."""
    if not ctx.resilient_parsing:
        check_environment(ctx)
        if path is not None:
            ctx.default_map = {**(ctx.default_map or {}), **defaults_from(ctx, path)}
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with flags as keys; or an earlier run's run.json or search-*.json, to repeat it.",
        callback=_config,
        is_eager=True,
        show_default=False,
    ),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print all options as such a file, and stop.", show_default=False)
]
RunDir = Annotated[
    Path | None,
    typer.Option(help="Run directory. Default: the last run.", show_default=False, autocompletion=completion.runs),
]
Seed = Annotated[int, typer.Option(min=SEED.at_least, max=SEED.at_most, help=SEED.help)]
Layout = Annotated[str, typer.Option(help=LAYOUT.help)]
Json = Annotated[bool, typer.Option("--json", help="Print data only, as JSON on stdout.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")]
Workers = Annotated[int, typer.Option(min=-1, help="Processes that load images; -1: chosen by the number of cores.")]
SaveSeconds = Annotated[float, typer.Option(min=0.0, help="Seconds between checkpoints.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Don't show progress.")]
License = Annotated[
    str | None,
    typer.Option(
        help="License of the weights, for the card and the hub, such as apache-2.0, mit or other.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would happen, and stop.")]


def resources(device: str, workers: int, processes: int = 1) -> tuple[str, int]:
    """Choose the device, and share the cores between the ``processes`` of a run on this machine, and in each between
    computing and loading images with ``workers``; -1: chosen."""
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


def command_line(words: Sequence[str]) -> str:
    """A command line for people: without passwords."""
    import shlex

    if any("://" in word for word in words):
        from nas.journal.storage import without_password

        words = [without_password(word) for word in words]
    return shlex.join(words)


def in_earnest() -> str:
    """The command that was typed, without ``--dry-run``: what comes after it."""
    return command_line(["nas", *(word for word in sys.argv[1:] if word != "--dry-run")])


def printed(ctx: typer.Context, wanted: bool) -> bool:
    """Print the options of this call as a file for ``--config``, where that is what is wanted."""
    if wanted:
        print(as_toml(ctx))
    return wanted


def is_typed(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line, rather than in the environment or a file."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def is_repeated(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter is what an earlier run's own file says."""
    source, path = ctx.get_parameter_source(name), ctx.params.get("config")
    return source is not None and source.name == "DEFAULT_MAP" and path is not None and path.suffix == ".json"


def print_json(value: object) -> None:
    """Records, or plain data, on stdout."""
    print(json.dumps(to_json(value), indent=2, default=str))
