"""Names of functions that somebody typed, so that they may be imported.

Every command reads this file first, so it loads nothing.
"""

from __future__ import annotations

import os
import re

from search_spaces.errors import UsageError

PREFIX = "code:"
"""What the name of a space around a model of one's own begins with."""
_ALLOWED = "NAS_ALLOWED_CODE"
"""Environment variable with the names that were typed, by commas: processes that this one starts inherit it."""
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def allow(name: str) -> None:
    """Let a function be imported: ``mypkg.module.build``, because a person asked for it. Modules are looked for in the
    current folder, too. Raises UsageError where it isn't the name of a function in a module."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' isn't the name of a function; give module and function, like mypkg.module.build")
    os.environ[_ALLOWED] = ",".join(dict.fromkeys([*typed(), name]))


def is_allowed(name: str) -> bool:
    """Whether somebody typed this name."""
    return name in typed()


def typed() -> list[str]:
    """The names that somebody typed."""
    return [name for name in os.environ.get(_ALLOWED, "").split(",") if name]
