"""Errors of the command line in words: what was given, the rule, and what to type instead."""

from __future__ import annotations

import errno
from typing import Any

from search_spaces.errors import UsageError

_FIXES = {
    errno.EEXIST: "a folder is to lie there, so give another place",
    errno.ENOTDIR: "a file is where a folder should be, so give another place",
    errno.EISDIR: "it is a folder, so give a file",
    errno.EACCES: "make it yours, or give another place",
    errno.EPERM: "make it yours, or give another place",
    errno.EROFS: "give another place",
    errno.ENAMETOOLONG: "give a shorter one",
}


def explain(error: OSError) -> str:
    """What the system refused, and what mends it."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; what was saved before is intact. Make room and run the same command again"
    fix = f"; {_FIXES[error.errno]}" if error.errno in _FIXES else ""
    return f"cannot use{where}: {error.strerror or error}{fix}"


def refuse_empty(arguments: list[str]) -> None:
    """An empty word is an unset variable of a script more often than a wish, and as a path it means this folder.

    Raises:
        UsageError: there is one among the words of the command line.
    """
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
