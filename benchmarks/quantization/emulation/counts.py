"""What the plugins counted: instructions by class, data accesses, cache misses; and how closely counts repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search_spaces.errors import UserError

MULTIPLICATIONS = ("float_mla", "int_mla")
MISSES = ("l1i_misses", "l1d_misses", "l2_misses")
_NO_INSTRUCTIONS = ("data_accesses", *MISSES)

Counts = dict[str, int]


def read_counts(path: Path) -> list[Counts]:
    """Counts of a plugin's file, one entry a marked inference, in order.

    Raises:
        UserError: no such file or lines that are not a plugin's: the guest or the plugin did not run to the end.
    """
    try:
        lines = path.read_text().splitlines()
        found = [{name: int(n) for name, n in (word.split("=") for word in line.split())} for line in lines]
    except (OSError, ValueError):
        found = []
    if not found or any(set(counts) != set(found[0]) for counts in found):
        raise UserError(f"the plugin of {path.stem} counted nothing; is QEMU older than 5.2, or 9.0 or newer?")
    return found


@dataclass(frozen=True)
class Summary:
    """Counts of several inferences of the same network.

    Attributes:
        median: by name; ``instructions`` is the sum over classes.
        spread: by name, the largest difference between two inferences, relative to the median; 0: all equal.
        repeats: how many inferences.
    """

    median: dict[str, float]
    spread: dict[str, float]
    repeats: int


def summarise(repeats: Sequence[Counts]) -> Summary:
    """Median and spread of inferences that were counted, with ``instructions`` where they are counted by class."""
    totals = [counts | ({"instructions": total} if (total := _instructions(counts)) else {}) for counts in repeats]
    values = {name: np.array([counts[name] for counts in totals]) for name in totals[0]}
    median = {name: float(np.median(v)) for name, v in values.items()}
    spread = {name: float(np.ptp(v)) / median[name] if median[name] else float(np.ptp(v)) for name, v in values.items()}
    return Summary(median, spread, len(repeats))


def _instructions(counts: Counts) -> int:
    return sum(n for name, n in counts.items() if name not in _NO_INSTRUCTIONS)
