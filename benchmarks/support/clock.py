"""The clock of experiments that work in processes of their own."""

from __future__ import annotations

import resource


def processor_seconds() -> float:
    """Processor seconds of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
