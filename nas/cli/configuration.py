"""Options from elsewhere than the command line, and what they are in the end.

Flags win over the environment, that wins over a file, that over defaults. A file is TOML with flags as keys, or what an
earlier run kept of itself: its ``run.json`` for ``train-supernet``, a ``search-<target>.json`` for ``search``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from search_spaces.errors import UsageError, unknown_name
from search_spaces.schema import Json, convert

from .encoding import LIKENESSES, escape
from .messages import PARAMETERS

NOT_KEYS = frozenset({"config", "print-config", "help"})


def keys_of(ctx: typer.Context) -> dict[str, str]:
    """Key of a file -> name of the command's parameter: options by their flags, arguments by their names."""
    found = {}
    for parameter in ctx.command.params:
        flags = [o.lstrip("-") for o in parameter.opts if o.startswith("--")]
        for key in flags or [str(parameter.name).replace("_", "-")]:
            if key not in NOT_KEYS:
                found[key] = str(parameter.name)
    return found


def defaults_from(ctx: typer.Context, path: Path) -> dict[str, Json]:
    """Values by name of parameter, from a file. Raises UsageError: there is no such file, it is of another form, or has
    an unknown key."""
    values = _earlier(ctx, path) if path.suffix == ".json" else _toml(path)
    keys = keys_of(ctx)
    for key in values:
        if key not in keys:
            raise unknown_name("key", key, keys, f"in {path}")
    return {keys[key]: value for key, value in values.items()}


def check_environment(ctx: typer.Context) -> None:
    """Refuse a variable ``NAS_<COMMAND>_...`` that stands for no option. Raises UsageError: names the nearest."""
    prefix = f"{ctx.auto_envvar_prefix}_"
    known = {f"{prefix}{parameter.name}".upper() for parameter in ctx.command.params}
    for name in os.environ:
        if name.startswith(prefix) and name not in known:
            raise unknown_name("environment variable", name, known)


def as_toml(ctx: typer.Context) -> str:
    """All options of a command as a file for ``--config``, one a line; what has no value is a comment."""
    lines = [f"# {ctx.command_path}"]
    for key, name in keys_of(ctx).items():
        value = ctx.params.get(name)
        given = value is not None and value != () and value != []
        lines.append(f"{key} = {_text(value)}" if given else f"# {key}: not given")
    return "\n".join(lines)


def _text(value: Any) -> str:
    """A value in TOML, whose strings are JSON's but for one character."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    text = json.dumps(str(value), ensure_ascii=False)
    return "".join(escape(c) if c in LIKENESSES or c == "\x7f" else c for c in text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"--config {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path} isn't a text file: {error}") from None


def _toml(path: Path) -> dict[str, Json]:
    import tomllib

    try:
        return tomllib.loads(_read(path))
    except (ValueError, RecursionError) as error:  # not TOML, or a number of thousands of digits
        raise UsageError(f"--config {path} isn't a TOML file: {error}") from None


def _earlier(ctx: typer.Context, path: Path) -> dict[str, Json]:
    """Flags that say what an earlier run's own file says."""
    needed, flags = _EARLIER.get(str(ctx.info_name), (None, _training))
    try:
        content = convert(json.loads(_read(path)), _Content)
        if needed not in content.config or content.finetuned_from is not None:
            raise ValueError("of another command")
        return {key: value for key, value in flags(content.config).items() if value is not None}
    except (ValueError, RecursionError):
        raise UsageError(
            f"--config {path}: nas {ctx.info_name} cannot be repeated from it; "
            "give a TOML file, for train-supernet a run.json, for search a search-<target>.json"
        ) from None


@dataclass(frozen=True)
class _Content:
    """What is read of an earlier run's own file."""

    config: dict[str, Any]
    finetuned_from: str | None = None


def _training(config: Mapping[str, Json]) -> dict[str, Json]:
    """Flags of ``nas train-supernet`` from ``nas.training.config.TrainConfig``."""
    from nas.training.config import TrainConfig

    settings = convert(config, TrainConfig)
    values = {PARAMETERS.get(name, name).replace("_", "-"): v for name, v in config.items() if name != "lr_auto"}
    return values | {"lr": "auto" if settings.lr_auto else None if settings.lr is None else str(settings.lr)}


def _search(config: Mapping[str, Json]) -> dict[str, Json]:
    """Flags of ``nas search`` from ``nas.search.config.SearchConfig``; ``prior`` is the journal's."""
    from nas.search.bounds import amount
    from nas.search.config import SearchConfig
    from nas.search.objectives import OBJECTIVES

    settings = convert(config, SearchConfig)
    apart, bounds = ("bounds", "seconds", "prior"), settings.bounds
    return {
        **{name.replace("_", "-"): value for name, value in config.items() if name not in apart},
        "precision": settings.precision or None,
        "time": settings.seconds,
        "max-latency-on": [f"{target}={ms}" for target, ms in bounds.elsewhere.items()] or None,
        **{
            f"max-{row.name}": None if limit is None else amount(row, limit)
            for row in OBJECTIVES.values()
            for limit in [bounds.limit(row)]
        },
    }


_EARLIER: dict[str, tuple[str, Callable[[Mapping[str, Json]], dict[str, Json]]]] = {
    "train-supernet": ("space", _training),
    "search": ("target", _search),
}
"""Command -> a setting that its files have and others lack, and what they say in flags."""
