"""Errors of the command line in words: what was given, the rule, and what to type instead."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from search_spaces.errors import UsageError

PARAMETERS = {
    "source": "data",
    "root": "data_root",
    "seconds": "time",
    "latency_ms": "max_latency",
    "elsewhere": "max_latency_on",
    "size_bytes": "max_size",
    "macs": "max_macs",
    "memory_bytes": "max_memory",
    "unsigned": "uint8",
}
"""Settings whose parameter of a command has another name."""
EVERYWHERE = {"code": "--code"}
"""Flags that every command takes, see ``nas.cli.code``."""
_SETTING = re.compile(r"`([a-z]\w*)`")
_flags: ContextVar[dict[str, str]] = ContextVar("flags", default={})  # noqa: B039 - never changed in place

_FIXES = {
    errno.EEXIST: "a file already exists there; choose another path",
    errno.ENOTDIR: "a file is where a folder should be; choose another path",
    errno.EISDIR: "it is a folder; give a file",
    errno.EACCES: "change its owner or choose another path",
    errno.EPERM: "change its owner or choose another path",
    errno.EROFS: "choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def speak_of(parameters: Iterable[Any]) -> None:
    """From now on, :func:`with_flags` names the flags of a command with these parameters of typer."""
    known = list(parameters)
    flags = {p.name: next((o for o in p.opts if o.startswith("--")), p.name.upper()) for p in known}
    flags |= {f"no_{p.name}": p.secondary_opts[0] for p in known if p.secondary_opts}
    _flags.set({s: flags[p] for s, p in PARAMETERS.items() if p in flags} | flags)


def with_flags(text: str) -> str:
    """A message with flags in place of settings: `` `label_smoothing` `` is ``--label-smoothing``,
    and `` `no_mirror` `` ``--no-mirror``."""
    return _SETTING.sub(lambda match: (_flags.get() | EVERYWHERE).get(match[1], match[0]), text)


def as_flags(text: str) -> str:
    """A help text with a flag for every setting that it names."""
    return _SETTING.sub(lambda match: f"--{PARAMETERS.get(match[1], match[1]).replace('_', '-')}", text)


def explain(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; what was saved before is intact. Make room and run the same command again"
    fix = f"; {_FIXES[error.errno]}" if error.errno in _FIXES else ""
    return f"cannot use{where}: {error.strerror or error}{fix}"


def refuse_empty(arguments: list[str]) -> None:
    """An empty word is an unset variable of a script more often than a wish, and as a path it means this folder. Raises
    UsageError: there is one among the words of the command line."""
    if "" in arguments:
        before = " ".join(["nas", *arguments][: arguments.index("") + 1][-2:])
        raise UsageError(f"{before} '': an empty word, from an unset variable perhaps; give a value, or leave it out")


def usage(error: Any) -> str:
    """What was given, the rule, and where to look: typer says of a value only what it should be."""
    command = error.ctx.command_path if error.ctx else "nas"
    said = error.format_message().rstrip(".")
    if (details := getattr(error.__cause__, "errors", None)) is not None and error.param is not None:
        found, flag = details()[0], error.param.opts[0]
        rule = found["msg"].partition(", unable to")[0].replace("Input should", "it must")
        said = f"{flag} {found['input']}{_origin(error)}: {rule}"
    return f"{said}; see: {command} --help"


def _origin(error: Any) -> str:
    """Where a value comes from that was not typed."""
    source = error.ctx.get_parameter_source(error.param.name)
    name = "" if source is None else source.name
    return {"DEFAULT_MAP": " (in the --config file)", "ENVIRONMENT": " (in the environment)"}.get(name, "")
