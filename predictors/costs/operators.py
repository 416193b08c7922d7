"""The single operators behind the cost tables of a space, for latency models that look at one operator at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Interface
from search_spaces.genes import Floats
from search_spaces.space import SearchSpace

from .cache import kept_tables, table_path
from .network import FEATURES, operator_rows
from .tables import CostTables, table_entries, traced_entries


@dataclass(frozen=True, eq=False)
class OperatorTables:
    """Which operators each entry of the cost tables holds.

    Attributes:
        rows: every distinct operator once, ``[operators, features]``.
        numbers: for every segment ``[combinations + 1, most]``, the numbers of an entry's operators plus one; 0: none.
    """

    rows: Floats
    numbers: Sequence[NDArray[np.int64]]

    def totals(self, values: Floats) -> list[Floats]:
        """Sums over each entry of one value per operator, ``[operators]``; for :meth:`CostTables.lookup`."""
        padded = np.append(0.0, values)
        return [padded[numbers].sum(axis=1) for numbers in self.numbers]


def operator_tables(tables: CostTables) -> OperatorTables:
    """The operators behind ``tables``; traced once a space, then kept on disk."""
    return _operator_tables(tables.space, tables.interface)


@lru_cache(maxsize=4)
def _operator_tables(space: SearchSpace, interface: Interface) -> OperatorTables:
    path, entries = table_path(space, interface, (*FEATURES, "operators")), table_entries(space)
    shapes: list[tuple[int | None, ...]] = [(None, len(FEATURES)), *((n, None) for n in entries)]
    arrays = kept_tables(path, shapes, lambda: _fill(space, interface, entries))
    return OperatorTables(arrays[0], [numbers.astype(np.int64) for numbers in arrays[1:]])


def _fill(space: SearchSpace, interface: Interface, entries: Sequence[int]) -> list[Floats]:
    """The distinct rows, then a padded table of numbers per segment."""
    number: dict[bytes, int] = {}
    rows: list[Floats] = []
    held: list[dict[int, list[int]]] = [{} for _ in entries]
    for entry in traced_entries(space, interface):
        numbers = []
        for row in operator_rows(entry.ops):
            if (key := row.tobytes()) not in number:
                number[key] = len(number) + 1
                rows.append(row)
            numbers.append(number[key])
        held[entry.segment][entry.row] = numbers
    padded = [np.zeros((n, max(map(len, lists.values()), default=0))) for n, lists in zip(entries, held, strict=True)]
    for table, lists in zip(padded, held, strict=True):
        for row_number, numbers in lists.items():
            table[row_number, : len(numbers)] = numbers
    return [np.stack(rows), *padded]
