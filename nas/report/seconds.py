"""What the measurements of a run took."""

from __future__ import annotations

from pathlib import Path

from nas.journal.journal import SEARCH, TEST, seconds_spent

Seconds = dict[str, dict[str, tuple[int, float]]]
"""By split, then by what asked for the measurements: how many there are, and their seconds."""


def seconds_of(journal: Path) -> Seconds:
    """What a journal file's measurements took. Raises UserError: the file is damaged."""
    found: Seconds = {SEARCH: {}, TEST: {}}
    for split, parts in found.items():
        for origin, spent in seconds_spent(journal, split):
            count, seconds = parts.get(origin, (0, 0.0))
            parts[origin] = (count + 1, seconds + spent)
    return found
