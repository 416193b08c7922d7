"""Processes that run a script again: how a script without a main guard is told so.

Where processes are spawned, as on macOS and Windows, each begins by importing the script that started it. Without a
guard it would do the script's work once more, the start of further processes included.
"""

from __future__ import annotations

import multiprocessing
from functools import cache

from search_spaces.errors import UserError

ADVICE = 'put the work of the script below the line: if __name__ == "__main__":'


def refuse_while_importing() -> None:
    """Refuse to work in a process that still imports the script which started it. Raises UserError with the advice."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells
        raise UserError(f"this script starts processes, and each of them runs it from the top; {ADVICE}")


@cache
def check_processes_begin() -> None:
    """Let a process begin, and end, before any that get work: where the script ends them first, Python waits for ever
    to hand them more than a pipe holds. Raises UserError with the advice where it ends early."""
    if multiprocessing.get_start_method() != "fork":
        probe = multiprocessing.Process(target=_end)
        probe.start()
        probe.join()
        if probe.exitcode:
            raise UserError(
                f"a process that this script started ended while it ran the script from the top (exit code "
                f"{probe.exitcode}); {ADVICE}"
            )


def _end() -> None:
    """All that the process does."""
