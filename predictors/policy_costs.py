"""Costs of populations whose networks have precision policies: each stage at its own precision.

Everything is summed over the segments of the space (memory is a maximum), each at the precision of its stage. Where a
float part meets an integer one, what passes between them is converted, at the cost of an elementwise operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from predictors.costs.cache import kept_tables, table_path
from predictors.costs.network import (
    COLUMN,
    FEATURES,
    Costs,
    op_features,
    operator_rows,
    peak_activation_bytes,
    size_bytes,
    total_macs,
)
from predictors.costs.tables import CostTables, table_entries, traced_entries
from predictors.latency.additive import LatencyModel
from predictors.targets.target import Target
from search_spaces.architecture import Interface
from search_spaces.genes import Floats, Vectors
from search_spaces.operators.operator import Op
from search_spaces.policy import FLOAT, INT8, Policy, stages_of, within
from search_spaces.space import SearchSpace

_MACS = total_macs(np.eye(len(FEATURES)))
"""Weights of cost features that sum up to MACs."""


def stage_numbers(space: SearchSpace) -> Vectors:
    """For every segment the number of its stage, from 1 on in the order of ``policy.stages_of``; 0: of none."""
    stages = stages_of(space)
    numbers = [next((i + 1 for i, stage in enumerate(stages) if within(s.path, stage)), 0) for s in space.segments]
    return np.array(numbers, dtype=np.int64)


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of one network with a policy, and where its time goes.

    Attributes:
        precisions: of each operator.
        operators_ms: milliseconds of each operator ``[ops]``; a conversion counts with the first operator that
            reads its result.
        fixed_ms: milliseconds of the network as a whole.
    """

    costs: Costs
    precisions: list[str]
    operators_ms: Floats
    fixed_ms: float

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the network, batch 1."""
        return float(self.operators_ms.sum()) + self.fixed_ms


def network_costs(ops: Sequence[Op], params: int, policy: Policy, target: Target) -> NetworkCosts:
    """Costs of the operators of one whole network, in execution order, as :class:`PolicyCosts` has them for
    populations. The target runs the precisions of the policy (see ``Target.policy``)."""
    rows, precisions = operator_rows(ops), [policy.of(op.path) for op in ops]
    model, runs_as = target.latency, [target.runs_as(name) for name in precisions]
    ms = np.zeros(len(ops))
    for name in set(runs_as):
        mine = np.array([other == name for other in runs_as])
        ms[mine] = model.operators(rows, name)[mine]
    for first, elements in _converted(ops, precisions):
        ms[first] += float(model.operators(conversion_row(elements), _quantized(model.precisions))[0])
    stages = [max((s for s, _ in policy.stages if within(op.path, s)), key=len, default="") for op in ops]
    size = peak = 0.0
    for stage in dict.fromkeys(stages):
        part = [op for op, own in zip(ops, stages, strict=True) if own == stage]
        features, name = op_features(part, 0), policy.of(stage)
        size += float(size_bytes(features, name))
        peak = max(peak, float(peak_activation_bytes(features, name, target.memory_rules)))
    macs = int(total_macs(rows.sum(axis=0)))
    costs = Costs(macs, params, int(size), int(peak))
    return NetworkCosts(costs, precisions, ms, model.fixed(target.runs_as(policy.outer)))


@lru_cache(maxsize=4)
def boundary_tables(space: SearchSpace, interface: Interface) -> list[Floats]:
    """Elements that every entry of the cost tables of a space reads of what others wrote, the image aside; for
    ``CostTables.lookup``. Traced once a space, then kept on disk."""
    entries = table_entries(space)

    def fill() -> list[Floats]:
        values = [np.zeros(n) for n in entries]
        for entry in traced_entries(space, interface):
            values[entry.segment][entry.row] = entering(entry.ops)
        return values

    return kept_tables(table_path(space, interface, (*FEATURES, "entering")), [(n,) for n in entries], fill)


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


def _converted(ops: Sequence[Op], precisions: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where a float part follows an integer one or the other way round: number of the first operator, and elements."""
    floats = [name == FLOAT for name in precisions]
    starts = [0, *(i for i in range(1, len(ops)) if floats[i] != floats[i - 1]), len(ops)]
    for begin, end in pairwise(starts[1:]):
        yield begin, entering(ops[begin:end])


def _quantized(precisions: Sequence[str]) -> str:
    """Of a target's precisions the one whose constants hold for conversions."""
    return INT8 if INT8 in precisions else next(name for name in precisions if name != FLOAT)


class PolicyCosts:
    """Size, memory and latency of populations with policies over a menu of precisions.

    A policy is given as ``parts``: for each candidate, the number in the menu of the precision outside all stages and
    of every stage, ``[n, 1 + stages]``.
    """

    def __init__(self, tables: CostTables, menu: Sequence[str]) -> None:
        self.tables, self.menu = tables, tuple(menu)
        self._stage = stage_numbers(tables.space)
        self._float = np.array([name == FLOAT for name in self.menu])
        self._latencies: dict[Target, list[Floats]] = {}
        self._peaks: dict[str, list[Floats]] = {}

    def macs(self, vectors: Vectors) -> Floats:
        """Multiply-accumulates ``[n]``; policies don't change them."""
        return self.tables.additive(_MACS, vectors)

    def size_bytes(self, vectors: Vectors, parts: Vectors) -> Floats:
        """Bytes of the deployed weights ``[n]``, as ``costs.size_bytes``."""
        return self.tables.lookup(self._sizes, vectors, variants=parts[:, self._stage])

    def peak_bytes(self, vectors: Vectors, parts: Vectors, rules: str) -> Floats:
        """Bytes of activations at the worst moment ``[n]``, as ``costs.peak_activation_bytes``."""
        if rules not in self._peaks:
            self._peaks[rules] = self._stacked(lambda name, table: peak_activation_bytes(table, name, rules))
        return self.tables.lookup(self._peaks[rules], vectors, "max", parts[:, self._stage])

    def latency_ms(self, target: Target, vectors: Vectors, parts: Vectors) -> Floats:
        """Milliseconds ``[n]``. What every network costs is that of the precision outside all stages."""
        model, names = target.latency, [target.runs_as(name) for name in self.menu]
        if target not in self._latencies:
            columns = [model.entries(self.tables, name) for name in names]
            # [precision, row, precision]: every precision is summed up by itself, which decides how sums are rounded
            apart = np.eye(len(names))[:, None, :]
            self._latencies[target] = [np.stack(column)[..., None] * apart for column in zip(*columns, strict=True)]
        sums = self.tables.lookup(self._latencies[target], vectors, variants=parts[:, self._stage]).T
        outside = parts[:, 0] == np.arange(len(self.menu))[:, None]
        ms: Floats = (sums + np.where(outside, [[model.fixed(name)] for name in names], 0.0)).sum(axis=0)
        if not self._float.any() or self._float.all():
            return ms
        return ms + self._conversions(model, vectors, parts)

    def _conversions(self, model: LatencyModel, vectors: Vectors, parts: Vectors) -> Floats:
        """Milliseconds of converting what passes between float and integer parts."""
        quantized = _quantized(model.precisions)
        floats = self._float[parts]  # [n, 1 + stages]
        differs = np.zeros((len(vectors), len(self._stage)), dtype=np.int64)
        before = 0  # the stem
        for segment, stage in enumerate(self._stage):
            if stage:
                differs[:, segment] = floats[:, stage] != floats[:, before]
                before = stage
        root = np.flatnonzero(self._stage == 0)
        differs[:, root] = (floats[:, [before]] != floats[:, [0]]).astype(np.int64)  # the head reads the last stage

        def milliseconds(elements: Floats) -> Floats:
            rows = np.concatenate([conversion_row(e) for e in elements])
            return np.where(elements > 0, model.operators(rows, quantized), 0.0)

        elements = boundary_tables(self.tables.space, self.tables.interface)
        values = [np.stack([np.zeros_like(e), milliseconds(e)]) for e in elements]
        return self.tables.lookup(values, vectors, variants=differs)

    @cached_property
    def _sizes(self) -> list[Floats]:
        return self._stacked(lambda name, table: size_bytes(table, name))

    def _stacked(self, value: Callable[[str, Floats], Floats]) -> list[Floats]:
        return [np.stack([value(name, table) for name in self.menu]) for table in self.tables.tables]
