"""Models of one's own on the command line: what was typed may be imported, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.builders.typed_code import PREFIX, allow
from search_spaces.errors import UsageError

_FLAG = "--code"


def allow_typed_code(arguments: Sequence[str]) -> list[str]:
    """Allow the functions that stand in the arguments, in ``code:NAME`` and after ``--code``; the arguments without the
    latter. A name that a run, a folder or a journal holds is not among them."""
    left: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, _, value = word.partition("=")
        if flag == _FLAG:
            if not value and not rest:
                raise UsageError("`code` needs the name of a function, like mypkg.module.build")
            allow((value or rest.pop(0)).removeprefix(PREFIX).partition("@")[0])
            continue
        text = word.partition("=")[2] if word.startswith(f"--space={PREFIX}") else word
        if text.startswith(PREFIX):
            allow(text.removeprefix(PREFIX).split(":")[0].partition("@")[0])
        left.append(word)
    return left
