"""Errors a user can mend, each with the exit code the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 40  # names in one message


class UserError(Exception):
    """Something the user gave cannot be used; the message is one or two lines for a person."""

    exit_code = 1


class UsageError(UserError):
    """A flag, a name or a combination of them that means nothing."""

    exit_code = 2


class InfeasibleError(UserError):
    """No candidate of the space satisfies the constraints."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A :class:`UsageError` that names the nearest known name."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    several = ", ".join(known) if len(known) <= _SHOWN else f"{', '.join(known[:3])} and {len(known) - 3:,} more"
    hint = f"did you mean '{near[0]}'?" if near else f"known: {several}"
    return UsageError(f"unknown {kind} '{name}'; {hint}")
