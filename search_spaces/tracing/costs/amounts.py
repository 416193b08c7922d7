"""Multiply-accumulates and parameters of many networks at once, from one run of the largest.

An operator's multiply-accumulates are a product of sizes, and a size is a sum of products of genes. With an array of
choices for every gene, numpy works out a whole population.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Choice
from search_spaces.errors import UserError

from ..dimensions.layouts import Joined, Layout, Nested, Sizes, Whole, Width, measure
from ..elastic import ElasticModel
from ..inputs import Inputs
from ..trace import Trace, trace

Population = Mapping[str, Whole]
"""Gene -> the choice of every network, ``[n]``."""
Gates = tuple[tuple[str, Choice], ...]
"""(depth gene, least choice): what has them exists where the gene is that large."""


@dataclass(frozen=True)
class Term:
    """A product of sizes, and a factor; of what exists where all gates are open."""

    gates: Gates
    factor: int
    sizes: tuple[Layout, ...]


@dataclass(frozen=True, eq=False)
class Amounts:
    """Amounts of every network of an elastic model, on inputs of one size.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products, a term an operator.
        parameters: a term a parameter.
    """

    elastic: ElasticModel
    macs: tuple[Term, ...]
    parameters: tuple[Term, ...]

    def evaluate(self, population: Population) -> tuple[Whole, Whole]:
        """Multiply-accumulates and parameters of each network, ``[n]`` of whole numbers. Genes that the population does
        not name are as in the model."""
        totals = _Totals(self.elastic, population)
        return totals.total(self.macs), totals.total(self.parameters)


class _Totals:
    """Sums of terms for a population."""

    def __init__(self, elastic: ElasticModel, population: Population) -> None:
        self.count = max((len(choices) for choices in population.values()), default=1)
        self.population = population
        self.full = {each.gene.name: each.gene.choices[-1] for each in elastic.depths}
        genes = elastic.axis_genes
        widths = {axis: population[gene].astype(np.int64) for axis, gene in genes.items() if gene in population}
        self.sizes = Sizes(widths)

    def total(self, terms: Iterable[Term]) -> Whole:
        sums: dict[Gates, int | Whole] = {}
        for term in terms:
            value: int | Whole = term.factor
            for layout in term.sizes:
                value = value * self.sizes.of(layout)
            sums[term.gates] = sums.get(term.gates, 0) + value
        total = np.zeros(self.count, dtype=np.int64)
        for gates, value in sums.items():
            there: int | Whole = 1
            for gene, least in gates:
                there = there * (self.population.get(gene, np.array([self.full[gene]])) >= least)
            total += value * there
        return total


def read_operators(elastic: ElasticModel, inputs: Inputs | None = None) -> Amounts:
    """Amounts as expressions of genes.

    Args:
        inputs: of another size than those that the model was derived with; None: those.

    Raises:
        UserError: on these inputs the model's dimensions consist of other things.
    """
    traced = elastic.trace
    renamed: Mapping[int, int] = {}
    if inputs is not None:
        traced = trace(elastic.model, inputs)
        renamed = match_axes(traced, elastic.trace)
    rename = _Renamer(renamed)
    macs = [
        Term(_gates_of(row.path, elastic), row.times, tuple(map(rename, row.macs)))
        for row in traced.operators
        if row.macs is not None
    ]
    return Amounts(elastic, tuple(macs), tuple(_parameters(elastic)))


def _parameters(elastic: ElasticModel) -> Iterable[Term]:
    """A parameter that was not used keeps its shape."""
    for name, parameter in elastic.model.named_parameters():
        layouts = elastic.trace.tensors.get(name)
        factor = parameter.numel() if layouts is None else 1
        yield Term(_gates_of(name, elastic), factor, layouts or ())


def _gates_of(path: str, elastic: ElasticModel) -> Gates:
    return tuple(gate for block, gate in elastic.gates.items() if f"{path}.".startswith(f"{block}."))


class _Renamer:
    """Gives axes of one trace their numbers in another; equal objects stay equal ones."""

    def __init__(self, numbers: Mapping[int, int]) -> None:
        self.numbers = numbers
        self._known: dict[int, tuple[Layout, Layout]] = {}

    def __call__(self, layout: Layout) -> Layout:
        if not self.numbers:
            return layout
        if id(layout) not in self._known:
            self._known[id(layout)] = layout, self._renamed(layout)
        return self._known[id(layout)][1]

    def _renamed(self, layout: Layout) -> Layout:
        if isinstance(layout, Width):
            return Width(self.numbers.get(layout.axis, -1 - layout.axis), layout.size, layout.centre)
        if isinstance(layout, Joined):
            return Joined(tuple(map(self, layout.parts)))
        if isinstance(layout, Nested):
            return Nested(tuple(map(self, layout.factors)))
        return layout


def match_axes(traced: Trace, known: Trace) -> dict[int, int]:
    """Axis of one trace of a model -> that of another, by the tensors of the model.

    Raises UserError where a tensor consists of other things.
    """
    numbers: dict[int, int] = {}
    for name, layouts in known.tensors.items():
        others = traced.tensors.get(name, ())
        if len(others) != len(layouts) or not all(map(_match, others, layouts, [numbers] * len(layouts))):
            raise UserError(f"on an input of this size, {name} consists of other parts than on the first")
    return numbers


def _match(one: Layout, other: Layout, numbers: dict[int, int]) -> bool:
    if isinstance(one, Width) and isinstance(other, Width):
        return one.size == other.size and numbers.setdefault(one.axis, other.axis) == other.axis
    if type(one) is not type(other):
        return False
    if isinstance(one, Joined | Nested):
        left, right = _parts(one), _parts(other)
        return len(left) == len(right) and all(map(_match, left, right, [numbers] * len(left)))
    return measure(one, dict[int, int]()) == measure(other, dict[int, int]())


def _parts(layout: Layout) -> Sequence[Layout]:
    if isinstance(layout, Joined):
        return layout.parts
    return layout.factors if isinstance(layout, Nested) else ()
