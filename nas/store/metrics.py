"""``metrics.jsonl``: a JSON object a line, each with the step that it belongs to.

A line may be cut short or strange (a crash, a power cut, another program): it is left out, and stops nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import atomic_write

Entry = dict[str, Any]


def entry_of(line: bytes) -> Entry | None:
    """What a line holds; None: not what a training writes."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and type(entry.get("step")) is int else None


def read_metrics(path: Path) -> tuple[list[Entry], int]:
    """The entries of a file in order, and how many lines hold none. A file that is not there has no lines."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [entry_of(line) for line in lines]
    whole = [entry for entry in found if entry is not None]
    return whole, len(found) - len(whole)


class Metrics:
    """The file of a training, cut back to the step that it goes on from.

    Args:
        path: of the file.
        start: steps done.
        report: called with every new entry.
    """

    def __init__(self, path: Path, start: int, report: Callable[[Entry], None]) -> None:
        self.path, self.report = path, report
        kept = [entry for entry in read_metrics(path)[0] if entry["step"] <= start]
        atomic_write(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())

    def write(self, entry: Entry) -> None:
        """Add a line."""
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self.report(entry)
