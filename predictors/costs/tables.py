"""Costs of whole populations by table.

The operators of a network are tabulated once per *segment* of the space (a block depends on few genes), so that scoring
a candidate is a handful of table look-ups; :class:`CostTables` and ``network.architecture_features`` agree exactly.
Peaks of memory are maxima instead of sums: only a segment's input is alive from outside while it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture, Interface
from search_spaces.genes import Floats, Vectors
from search_spaces.operators.operator import Op, Stretch
from search_spaces.space import SearchSpace, Segment

from .cache import kept_tables, table_path
from .network import FEATURES, SUMMED, op_features, operator_rows


class CostTables:
    """Features of whole populations by table look-up."""

    def __init__(self, space: SearchSpace, interface: Interface) -> None:
        self.space, self.interface = space, interface
        self.columns = [np.array([space.index[g] for g in s.genes], dtype=np.int64) for s in space.segments]
        self.gates = [space.gate_index(s.gate) if s.gate else None for s in space.segments]
        self.tables = tabulate(space, interface)
        self.strides = []
        for columns in self.columns:
            shape = space.cardinality[columns]
            self.strides.append(np.append(np.cumprod(shape[::-1])[::-1][1:], 1))

    def features(self, vectors: Vectors) -> Floats:
        """Feature rows ``[n, features]`` of vectors ``[n, genes]``."""
        out = np.zeros((len(vectors), len(FEATURES)))
        for segment in range(len(self.tables)):
            rows = self.tables[segment][self.rows(segment, vectors)]
            out[:, :SUMMED] += rows[:, :SUMMED]
            np.maximum(out[:, SUMMED:], rows[:, SUMMED:], out=out[:, SUMMED:])
        return out

    def additive(self, weights: Floats, vectors: Vectors) -> Floats:
        """``weights @ features`` of each vector, through one number per table entry; shape ``[n]``.

        ``weights`` has one entry per feature; of shape ``[features, k]`` it gives ``[n, k]``.
        """
        return self.lookup([table @ weights for table in self.tables], vectors)

    def lookup(
        self, values: Sequence[Floats], vectors: Vectors, reduce: str = "sum", variants: Vectors | None = None
    ) -> Floats:
        """Sum (or maximum) over segments of each vector's entry, ``[n, ...]``.

        Args:
            values: for every segment ``[combinations + 1, ...]``; the last entry is for where the segment is absent.
                With ``variants``, one such array for each variant, ``[variants, combinations + 1, ...]``.
            variants: ``[n, segments]``, which variant of a segment each vector has.
        """
        out = np.zeros((len(vectors), *values[0].shape[1 if variants is None else 2 :]))
        for segment, table in enumerate(values):
            rows = self.rows(segment, vectors)
            entries = table[rows] if variants is None else table[variants[:, segment], rows]
            out = out + entries if reduce == "sum" else np.maximum(out, entries)
        return out

    def rows(self, segment: int, vectors: Vectors) -> Vectors:
        """Row of a segment's table for each vector; the last row, all zero, where the segment is absent."""
        index: Vectors = vectors[:, self.columns[segment]] @ self.strides[segment]
        if (gate := self.gates[segment]) is not None:
            index = np.where(vectors[:, gate[0]] >= gate[1], index, -1)
        return index


@lru_cache(maxsize=16)
def tabulate(space: SearchSpace, interface: Interface) -> list[Floats]:
    """One table per segment, ``[combinations + 1, features]``; kept on disk, since a large space takes seconds."""
    shapes = [(entries, len(FEATURES)) for entries in table_entries(space)]

    def fill() -> list[Floats]:
        tables = [np.zeros(shape) for shape in shapes]
        for entry in traced_entries(space, interface):
            tables[entry.segment][entry.row] = op_features(entry.ops, entry.params, entry.stretches)
        return tables

    return kept_tables(table_path(space, interface, FEATURES), shapes, fill)


def table_entries(space: SearchSpace) -> list[int]:
    """Entries of each segment's table: one per combination of its genes' choices, and a last one for its absence."""
    return [int(np.prod([space.cardinality[space.index[g]] for g in s.genes])) + 1 for s in space.segments]


@dataclass(frozen=True)
class Entry:
    """The operators behind one entry of a segment's table, in execution order, and the segment's parameters;
    ``stretches``: the same, where other tensors than its input are alive around them."""

    segment: int
    row: int
    ops: list[Op]
    params: int
    stretches: tuple[Stretch, ...] = ()


def traced_entries(space: SearchSpace, interface: Interface) -> Iterator[Entry]:
    """Every entry of the tables, from a small set of models that covers all combinations; some come repeatedly."""
    from search_spaces.operators.segments import SegmentTracer

    known = space.family.parts(space.segments, interface)
    if known is not None:
        for part in known:
            row = _row(space, space.segments[part.number], part.values)
            ops = [op for stretch in part.stretches for op in stretch.ops]
            yield Entry(part.number, row, ops, part.params, part.stretches)
        return
    paths = [s.path for s in space.segments]
    number = {path: i for i, path in enumerate(paths)}
    todo = [
        dict.fromkeys(itertools.product(*(space.genes[space.index[g]].choices for g in s.genes if g != "resolution")))
        for s in space.segments
    ]
    resolutions = [int(r) for r in space.genes[space.index["resolution"]].choices]
    tracer = SegmentTracer(paths)
    while any(todo):
        architecture = _cover(space, todo)
        model = space.build(architecture, interface, "meta").eval()
        params = np.zeros(len(paths), dtype=np.int64)
        for name, parameter in model.named_parameters():
            owner = max((path for path in paths if path == "" or name.startswith(f"{path}.")), key=len)
            params[number[owner]] += parameter.numel()
        values = dict(architecture.genes)
        for resolution, groups in zip(resolutions, tracer.traces(model, interface.in_chans, resolutions), strict=True):
            values["resolution"] = resolution
            for i, segment in enumerate(space.segments):
                if groups[segment.path]:
                    yield Entry(i, _row(space, segment, values), groups[segment.path], int(params[i]))


def _row(space: SearchSpace, segment: Segment, values: Mapping[str, int | float]) -> int:
    row = 0
    for name in segment.genes:
        choices = space.genes[space.index[name]].choices
        row = row * len(choices) + choices.index(values[name])
    return row


def _cover(space: SearchSpace, todo: list[dict[tuple[int | float, ...], None]]) -> Architecture:
    """An architecture with every block present that shows as many missing combinations as greed finds; crosses
    them off ``todo``."""
    largest = dict(space.largest.genes)
    fixed: dict[str, int | float] = {}
    for segment, missing in zip(space.segments, todo, strict=True):
        names = [g for g in segment.genes if g != "resolution"]
        for combination in missing:
            if all(fixed.get(n, v) == v for n, v in zip(names, combination, strict=True)):
                fixed.update(zip(names, combination, strict=True))
                break
    values = largest | fixed
    for segment, missing in zip(space.segments, todo, strict=True):
        missing.pop(tuple(values[g] for g in segment.genes if g != "resolution"), None)
    return Architecture(space.name, tuple(values.items()))


@dataclass(frozen=True, eq=False)
class OperatorTables:
    """Which operators each entry of the cost tables holds, for latency models that look at one operator at a time.

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


@lru_cache(maxsize=4)
def operator_tables(space: SearchSpace, interface: Interface) -> OperatorTables:
    """The operators behind the cost tables of a space; traced once, then kept on disk."""
    path, entries = table_path(space, interface, (*FEATURES, "operators")), table_entries(space)
    shapes: list[tuple[int | None, ...]] = [(None, len(FEATURES)), *((n, None) for n in entries)]
    arrays = kept_tables(path, shapes, lambda: _number(space, interface, entries))
    return OperatorTables(arrays[0], [numbers.astype(np.int64) for numbers in arrays[1:]])


def _number(space: SearchSpace, interface: Interface, entries: Sequence[int]) -> list[Floats]:
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
