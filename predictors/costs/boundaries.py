"""How many elements enter each part of a network: what is converted between a float part and an integer one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from search_spaces.architecture import Interface
from search_spaces.operators.operator import Op
from search_spaces.space import SearchSpace

from .cache import load_tables, save_tables, table_path
from .network import COLUMN, FEATURES, Floats
from .tables import CostTables, table_entries, traced_entries


def boundary_tables(tables: CostTables) -> list[Floats]:
    """Elements that every entry of ``tables`` reads of what others wrote, the image aside; for ``CostTables.lookup``.
    Traced once a space, then kept on disk."""
    return _boundary_tables(tables.space, tables.interface)


def entering(ops: Sequence[Op]) -> int:
    """Elements that operators read and neither make themselves nor find in the image; each tensor once."""
    made = {buffer.number for op in ops for buffer in op.writes}
    read = {buffer.number: buffer.elements for op in ops for buffer in op.reads}
    return sum(elements for number, elements in read.items() if number and number not in made)


def conversion_row(elements: float) -> Floats:
    """The operator that turns so many floats into int8 or back, as a feature row ``[1, features]`` at int8."""
    row = np.zeros((1, len(FEATURES)))
    row[0, COLUMN["moved_elementwise"]] = 5 * elements  # one byte on one side, four on the other
    row[0, COLUMN["ops_elementwise"]] = 1
    return row


@lru_cache(maxsize=4)
def _boundary_tables(space: SearchSpace, interface: Interface) -> list[Floats]:
    path = table_path(space, interface, (*FEATURES, "entering"))
    entries = table_entries(space)
    values = load_tables(path, [(n,) for n in entries])
    if values is None:
        values = [np.zeros(n) for n in entries]
        for entry in traced_entries(space, interface):
            values[entry.segment][entry.row] = entering(entry.ops)
        save_tables(path, values)
    return values
