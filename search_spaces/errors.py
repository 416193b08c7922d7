"""Errors that a user can fix, each with the exit code that the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 40  # names in one message
_WIDEST = 600  # characters of a line of a message


class UserError(Exception):
    """Something that the user gave cannot be used; the message is one or two lines for a person, see
    :func:`presentable`, and may quote a file."""

    exit_code = 1

    def __str__(self) -> str:
        return presentable(super().__str__())


class UsageError(UserError):
    """A setting or a name that doesn't exist, or settings that don't fit together."""

    exit_code = 2


class InfeasibleError(UserError):
    """No candidate of the space satisfies the constraints."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """A :class:`UsageError` that offers the nearest known name; ``where`` says in or of what the name is unknown."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    several = ", ".join(known) if len(known) <= _SHOWN else f"{', '.join(known[:3])} and {len(known) - 3:,} more"
    hint = f"did you mean '{near[0]}'?" if near else f"known: {several}"
    place = f" {where}" if where else ""
    return UsageError(f"unknown {kind} '{name}'{place}; {hint}")


def install_hint(what: str) -> str:
    """How to install what is missing, ``.[onnx]`` or ``torch>=2.9``, as the README does: ``nas`` isn't on an index."""
    return f"in the clone: pip install -c constraints.txt '{what}'"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def presentable(text: str) -> str:
    """A message as a terminal may show it: two lines at most, control characters as escapes, and of a line so long
    that it hides the rest the middle left out."""
    lines = text.split("\n")
    if len(lines) > 2:
        lines = ["\\n".join(lines)]
    return "\n".join(map(_presentable_line, lines))


def _presentable_line(line: str) -> str:
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    half = (_WIDEST - 5) // 2
    return shown if len(shown) <= _WIDEST else f"{shown[:half]} ... {shown[-half:]}"
