"""A network in parts that depend on few genes each, and the operators of every part for every combination of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, product

import numpy as np

from search_spaces.architecture import Choice
from search_spaces.genes import Gene
from search_spaces.operators.operator import Buffer, Op, Stretch

from ..dimensions.expressions import layouts_in, value_of
from ..dimensions.expressions import product as amount_of
from ..dimensions.layouts import Sizes, axes_of
from ..elastic import ElasticModel
from ..skeleton_parts import innermost

Around = tuple[tuple[Buffer, ...], tuple[Buffer, ...]]
"""Buffers that are alive before a stretch of operators, and after it."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Operators of a network in execution order, by the part that they belong to.

    Attributes:
        genes: axis -> gene that decides its width.
        paths: of modules; an operator belongs to the innermost of them that it runs in. ``""`` is the network.
        parameters: name -> elements, whose axes have the numbers of ``parameter_genes``.
    """

    ops: Sequence[Op]
    genes: Mapping[int, str]
    paths: Sequence[str]
    parameters: Mapping[str, int]
    parameter_genes: Mapping[int, str]

    @cached_property
    def owners(self) -> list[str]:
        """The part of every operator."""
        known = {path: innermost(path, self.paths) for path in {op.path for op in self.ops}}
        return [known[op.path] for op in self.ops]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Parameters of every part."""
        sizes: dict[str, int] = dict.fromkeys(self.paths, 0)
        for name, elements in self.parameters.items():
            owner = innermost(name.rpartition(".")[0], self.paths)
            sizes[owner] = sizes[owner] + elements
        return sizes

    @cached_property
    def lives(self) -> dict[Buffer, tuple[int, int]]:
        """First and last operator that uses each buffer; the image is there from the start."""
        lives: dict[Buffer, tuple[int, int]] = {}
        for i, op in enumerate(self.ops):
            for buffer in (*op.reads, *op.writes):
                first, _ = lives.get(buffer, (i if buffer.number else -1, i))
                lives[buffer] = first, i
        return lives

    def stretches(self, path: str) -> Iterator[tuple[list[Op], Around]]:
        """Operators of a part that follow one another, and what is alive around them."""
        lives = self.lives
        for mine, group in groupby(range(len(self.ops)), lambda i: self.owners[i] == path):
            if mine:
                numbers = list(group)
                start, end = numbers[0], numbers[-1]
                before = tuple(b for b, (first, last) in lives.items() if first < start <= last)
                after = tuple(b for b, (first, last) in lives.items() if first <= end < last)
                yield [self.ops[i] for i in numbers], (before, after)

    def depends(self, path: str) -> set[str]:
        """Genes that a part's operators, and what is alive around them, depend on."""
        found = genes_of_numbers([self.sizes[path]], self.parameter_genes)
        for ops, (before, after) in self.stretches(path):
            for op in ops:
                found.update(genes_of_numbers(_numbers(op), self.genes))
            found.update(genes_of_numbers([b.elements for b in (*before, *after)], self.genes))
        return found

    def combinations(
        self, path: str, choices: Mapping[str, Sequence[Choice]]
    ) -> Iterator[tuple[dict[str, Choice], int, tuple[Stretch, ...]]]:
        """For every combination of genes' choices the parameters and operators of a part."""
        names = list(choices)
        grid = [np.array(each) for each in product(*choices.values())]
        columns = np.array(grid, dtype=np.int64).reshape(len(grid), len(names))
        by_name = {name: columns[:, i] for i, name in enumerate(names)}
        sizes, own = (
            Sizes({axis: by_name[gene] for axis, gene in genes.items() if gene in by_name})
            for genes in (self.genes, self.parameter_genes)
        )
        params = _numbers_of(self.sizes[path], own)
        stretches = [_Written(ops, around, sizes) for ops, around in self.stretches(path)]
        for row in range(len(grid)):
            values: dict[str, Choice] = {name: int(columns[row, i]) for i, name in enumerate(names)}
            yield values, params(row), tuple(stretch.at(row) for stretch in stretches)


def _numbers_of(number: int, sizes: Sizes) -> Callable[[int], int]:
    """A number for each combination."""
    value = value_of(number, sizes.of)
    if isinstance(value, np.ndarray):
        return lambda row: int(value[row])
    return lambda row: int(value)


class _Written:
    """A stretch of operators with numbers in place of amounts."""

    def __init__(self, ops: Sequence[Op], around: Around, sizes: Sizes) -> None:
        self.ops = ops
        self.numbers = [[_numbers_of(number, sizes) for number in _own_numbers(op)] for op in ops]
        buffers = {b: None for op in ops for b in (*op.reads, *op.writes)} | dict.fromkeys((*around[0], *around[1]))
        self.elements = {b: _numbers_of(b.elements, sizes) for b in buffers}
        self.around = around

    def at(self, row: int) -> Stretch:
        def buffers(several: Sequence[Buffer]) -> tuple[Buffer, ...]:
            return tuple(Buffer(b.number, self.elements[b](row)) for b in several)

        ops = []
        for op, numbers in zip(self.ops, self.numbers, strict=True):
            macs, weights, channels, moved = (number(row) for number in numbers)
            ops.append(
                replace(
                    op,
                    macs=macs,
                    weights=weights,
                    channels=channels,
                    moved=moved,
                    reads=buffers(op.reads),
                    writes=buffers(op.writes),
                )
            )
        return Stretch(tuple(ops), buffers(self.around[0]), buffers(self.around[1]))


def _own_numbers(op: Op) -> tuple[int, int, int, int]:
    return op.macs, op.weights, op.channels, op.moved


def _numbers(op: Op) -> list[int]:
    return [*_own_numbers(op), *(b.elements for b in (*op.reads, *op.writes))]


def genes_of_numbers(numbers: Sequence[int], genes: Mapping[int, str]) -> set[str]:
    """Genes that amounts depend on."""
    return {
        genes[axis] for number in numbers for layout in layouts_in(number) for axis in axes_of(layout) if axis in genes
    }


def parameter_amounts(elastic: ElasticModel) -> dict[str, int]:
    """Name of a parameter -> its elements; one that was not used keeps its shape."""
    return {
        name: parameter.numel() if (layouts := elastic.trace.tensors.get(name)) is None else amount_of(layouts)
        for name, parameter in elastic.model.named_parameters()
    }


def divide(whole: Parts, known: Mapping[str, Gene], blocks: Sequence[str], most: int) -> Parts:
    """A network in parts with at most so many combinations of choices each, as few as can be.

    ``blocks`` are parts by themselves: they may be absent. Where a module has too many combinations its children become
    parts, and what it does itself is one; that one may have more.
    """
    paths = ["", *blocks]
    while True:
        parts = replace(whole, paths=paths)
        for path in paths:
            depends = parts.depends(path)
            combinations = int(np.prod([len(known[name].choices) for name in depends], dtype=object))
            inside = _children(
                path, [op.path for op, owner in zip(whole.ops, parts.owners, strict=True) if owner == path]
            )
            if combinations > most and inside:
                paths = [*paths, *inside]
                break
        else:
            return parts


def _children(path: str, operators: Sequence[str]) -> list[str]:
    """Next modules on the way from a module to those that its operators run in."""
    prefix = f"{path}." if path else ""
    inside = [each.removeprefix(prefix).split(".")[0] for each in operators if each != path]
    return [f"{prefix}{name}" for name in dict.fromkeys(inside)]
