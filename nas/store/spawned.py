"""Processes that run a script again: how a script without a main guard is told so.

Where processes are spawned, as on macOS and Windows, each begins by importing the script that started it. Without a
guard it would do the script's work once more, the start of further processes included.
"""

from __future__ import annotations

import multiprocessing

from search_spaces.errors import UserError

ADVICE = 'put the work of the script below the line: if __name__ == "__main__":'


def refuse_while_importing() -> None:
    """Refuse to work in a process that still imports the script which started it. Raises UserError with the advice."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells
        raise UserError(f"this script starts processes, and each of them runs it from the top; {ADVICE}")


def ended_early(what: str, reason: str) -> UserError:
    """The error to raise where a process that this one started has ended; ``what`` it does, and ``reason``, as far as
    it is known."""
    spawned = multiprocessing.get_start_method() != "fork"
    fix = (
        f"if this is a script, {ADVICE}"
        if spawned and "killed" not in reason
        else ("`workers` 0 loads them in this process")
    )
    return UserError(f"a process that {what} ended: {reason}; {fix}")
