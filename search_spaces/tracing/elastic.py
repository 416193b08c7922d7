"""A model whose parts can shrink: its genes, and the network of any choice of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from search_spaces.architecture import Choice
from search_spaces.errors import UserError
from search_spaces.genes import Gene

from .blocks import Run
from .choices import DepthGene, Shares, WidthGene, depth_genes, width_genes
from .copies import all_tensors, tensor_names
from .dimensions.layouts import Pieces, cut_of
from .inputs import Inputs
from .recipe import Recipe
from .skeletons import Selection, make_skeleton
from .trace import Stays, Trace

Values = Mapping[str, Choice]
"""Gene -> choice. What is not named is as in the model."""


@dataclass(frozen=True)
class TensorCut:
    """What a network takes of one tensor of the model.

    Attributes:
        name: of the tensor, in both.
        pieces: for each dimension, runs of indices that are laid end to end; None: all of it.
    """

    name: str
    pieces: tuple[Pieces | None, ...]

    def take(self, tensor: Tensor) -> Tensor:
        """That part of the tensor; a view where every dimension has one run."""
        for d, runs in enumerate(self.pieces):
            if runs is not None:
                several = [tensor.narrow(d, first, count) for first, count in runs]
                tensor = several[0] if len(several) == 1 else torch.cat(several, d)
        return tensor


@dataclass(frozen=True)
class Frozen:
    """An axis that stays as it is since a smaller network did not run as foretold, and what happened there."""

    axis: int
    reason: str
    path: str


@dataclass(frozen=True, eq=False)
class ElasticModel:
    """A model, and what it can shrink by.

    Attributes:
        model: in eval mode; on ``meta`` unless its code looks at values.
        inputs: what it was run on.
        runs: blocks that may go.
        frozen: what a check has kept from shrinking.
        notes: what else the checks found.
    """

    model: nn.Module
    inputs: Inputs
    trace: Trace
    shares: Shares
    runs: tuple[Run, ...]
    frozen: tuple[Frozen, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def widths(self) -> tuple[WidthGene, ...]:
        without = frozenset(each.axis for each in self.frozen)
        return tuple(width_genes(self.model, self.trace, self.runs, self.shares, without))

    @cached_property
    def depths(self) -> tuple[DepthGene, ...]:
        return tuple(depth_genes(self.runs, self.shares))

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """All decisions, depths first: gates name genes before them."""
        return (*(each.gene for each in self.depths), *(each.gene for each in self.widths))

    @cached_property
    def axis_genes(self) -> Mapping[int, str]:
        """Axis -> the gene that decides its width."""
        return {axis: each.gene.name for each in self.widths for axis in each.axes}

    @cached_property
    def gates(self) -> Mapping[str, tuple[str, Choice]]:
        """Path of a block that may go -> the gene of its depth, and the least choice that has it."""
        return {
            block: (each.gene.name, next(choice for choice in each.gene.choices if choice > number))
            for each in self.depths
            for number, block in enumerate(each.run.blocks)
            if number >= each.gene.choices[0]
        }

    @property
    def unknown(self) -> Mapping[str, int]:
        """Operators without a rule -> how often they kept something from shrinking."""
        return self.trace.unknown

    def smallest(self) -> dict[str, Choice]:
        return {gene.name: gene.choices[0] for gene in self.genes}

    def select(self, values: Values) -> Selection:
        """What a choice means for axes and blocks. Raises UserError where a gene is unknown or has no such choice."""
        known = {gene.name: gene for gene in self.genes}
        for name, value in values.items():
            if name not in known or value not in known[name].choices:
                raise UserError(f"the model has no gene {name} with the choice {value}")
        widths = {
            axis: int(values[each.gene.name])
            for each in self.widths
            if values.get(each.gene.name, each.gene.choices[-1]) != each.gene.choices[-1]
            for axis in each.axes
        }
        gone = [
            (block, each.run.delete)
            for each in self.depths
            for block in each.run.gone(int(values.get(each.gene.name, len(each.run.blocks))))
        ]
        return Selection(widths, tuple(gone))

    def build(self, values: Values) -> nn.Module:
        """The network of a choice: the model's own classes with smaller tensors, on ``meta``."""
        return make_skeleton(self.model, self.trace, self.select(values))[0]

    def recipe(self, values: Values) -> Recipe:
        """What makes this network of the model, as data."""
        return make_skeleton(self.model, self.trace, self.select(values))[1]

    def cuts(self, values: Values) -> tuple[TensorCut, ...]:
        """What the network takes of every parameter and buffer of the model that it has; not of buffers that the model
        replaces while it runs."""
        selection = self.select(values)
        cuts = []
        for name, first in self.names.items():
            if first not in self.trace.caches and selection.has(name):
                layouts = self.trace.tensors.get(first, ())
                cuts.append(TensorCut(name, cut_of(layouts, selection.widths)))
        return tuple(cuts)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Every name of a parameter or buffer of the model -> the first name of the same tensor."""
        first = tensor_names(self.model)
        return {name: first[id(tensor)] for name, tensor in all_tensors(self.model).items()}

    def fixed(self) -> tuple[Stays, ...]:
        """What stays as it is, and why: with the line of the model's code where there is one."""
        checked = tuple(
            Stays(facts.name, facts.size, f"{each.reason} in {each.path or 'the model'}")
            for each in self.frozen
            for facts in (self.trace.axes[each.axis],)
        )
        return (*self.trace.stays, *checked)

    def freeze(self, axes: Mapping[int, tuple[str, str]]) -> ElasticModel:
        """The same, without genes of some axes; for each the reason, and the module where it showed."""
        return replace(
            self, frozen=(*self.frozen, *(Frozen(axis, reason, path) for axis, (reason, path) in axes.items()))
        )
