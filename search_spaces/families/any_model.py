"""Any model of which nothing is known beforehand: what it can shrink by is found out by running it once.

See ``search_spaces.tracing``. Widths, depths, heads and depthwise kernels are genes of their own names; the resolution
is one where the smallest network takes several sides.
"""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.builders.named_model import NamedModel
from search_spaces.channels import Axis, Group
from search_spaces.errors import UsageError, UserError, first_line
from search_spaces.genes import Gene
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop, Family, Pieces, Segment

from .options import PREFIX, Named, Options, resolutions

if TYPE_CHECKING:
    from torch import nn

    from search_spaces.tracing.choices import Shares
    from search_spaces.tracing.elastic import ElasticModel, Values
    from search_spaces.tracing.inputs import Inputs
    from search_spaces.tracing.parts import Part, Parts

LOOKED_AT = Interface(3, 10)
"""The ends that a model has when its genes are looked for; they don't depend on them."""
MOST_COMBINATIONS = 1024
"""A part of the network with more combinations of its genes is divided, if it can be."""
TOO_MANY = 65536
"""One with more combinations than this has costs that cannot be tabulated."""


@dataclass(frozen=True, eq=False)
class AnyFamily(Family):
    """A family around any model.

    Attributes:
        model: what builds it.
        resolutions: sides of the image in pixels.
        shares: which sizes there are.
    """

    model: NamedModel
    resolutions: tuple[int, ...]
    shares: Shares
    _known: dict[Interface, ElasticModel] = field(default_factory=dict, repr=False)

    def elastic(self, interface: Interface) -> ElasticModel:
        """What the model with these ends can shrink by. Raises UserError where nothing smaller runs."""
        from search_spaces.tracing.derive import derive

        if interface not in self._known:
            model = self.model.build(interface, "meta").eval()
            found = derive(model, self.inputs(interface), self.shares)
            if interface != LOOKED_AT and found.genes != self.elastic(LOOKED_AT).genes:
                raise UserError(f"{self.model.name} has other genes with {interface.in_chans} channels")
            self._known[interface] = found
        return self._known[interface]

    def inputs(self, interface: Interface, side: int | None = None) -> Inputs:
        """An image without values; of the largest side."""
        import torch

        from search_spaces.tracing.inputs import Inputs

        side = side or self.resolutions[-1]
        return Inputs((torch.empty(1, interface.in_chans, side, side, device="meta"),))

    def genes(self) -> tuple[Gene, ...]:
        return (Gene("resolution", self.resolutions), *self.elastic(LOOKED_AT).genes)

    def segments(self) -> tuple[Segment, ...]:
        elastic, parts = self.elastic(LOOKED_AT), self._divided
        order = [gene.name for gene in elastic.genes]
        found = []
        for path in parts.paths:
            names = tuple(sorted(parts.depends(path), key=order.index))
            found.append(Segment(path, ("resolution", *names), _gate(path, elastic)))
        return tuple(found)

    def build(
        self, architecture: Architecture, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP
    ) -> nn.Module:
        from search_spaces.builders.rebuild import rebuild
        from search_spaces.tracing.copies import all_tensors
        from search_spaces.tracing.recipe import write_recipe
        from search_spaces.tracing.skeletons import make_skeleton

        elastic, values = self.elastic(interface), _values(architecture)
        if device == "meta":
            base = elastic.model if drop == NO_DROP else self.model.build(interface, "meta", drop)
            return make_skeleton(base, elastic.trace, elastic.select(values))[0]
        model = self.model.build(interface, device, drop)
        source = all_tensors(model)
        state = {cut.name: cut.take(source[cut.name]).detach().clone() for cut in elastic.cuts(values)}
        network: nn.Module = rebuild(model, write_recipe(elastic.recipe(values)), state)
        return network

    def describe(self, architecture: Architecture, interface: Interface) -> Mapping[str, Json]:
        from search_spaces.tracing.recipe import write_recipe

        recipe = self.elastic(interface).recipe(_values(architecture))
        return {**self.model.to_json(interface), "recipe": write_recipe(recipe)}

    def pieces(self, architecture: Architecture, interface: Interface) -> Mapping[str, Pieces]:
        return {cut.name: cut.pieces for cut in self.elastic(interface).cuts(_values(architecture))}

    def channel_groups(self, model: nn.Module) -> list[Group]:
        """Axes that lie the same way in all their tensors: as parts of items of some elements each."""
        from search_spaces.tracing.ordering import axis_groups

        trace = self.elastic(LOOKED_AT).trace
        return [tuple(Axis(*each) for each in group) for group in axis_groups(trace)]

    @cached_property
    def _divided(self) -> Parts:
        """The parts that the costs are tabulated by."""
        from search_spaces.tracing.parts import divide

        elastic = self.elastic(LOOKED_AT)
        blocks = [block for each in elastic.depths for block in each.run.blocks[int(each.gene.choices[0]) :]]
        known = {gene.name: gene for gene in elastic.genes}
        return divide(_read_parts(elastic, elastic.inputs, ("",)), known, blocks, MOST_COMBINATIONS)

    def parts(self, segments: tuple[Segment, ...], interface: Interface) -> Iterator[Part]:
        """What every segment executes for every combination of its genes. Raises UserError where there are too many."""
        from search_spaces.tracing.parts import Part

        elastic = self.elastic(interface)
        known = {gene.name: gene for gene in elastic.genes}
        choices = [{name: known[name].choices for name in each.genes if name in known} for each in segments]
        for segment, several in zip(segments, choices, strict=True):
            if math.prod(map(len, several.values())) > TOO_MANY:
                raise UserError(
                    f"{len(several)} genes meet in one part of {self.model.name}, "
                    f"{segment.path or 'its outermost module'}; give fewer choices, such as width=0.5"
                )
        for side in self.resolutions:
            parts = _read_parts(elastic, self.inputs(interface, side), [segment.path for segment in segments])
            for number, (segment, several) in enumerate(zip(segments, choices, strict=True)):
                for values, params, stretches in parts.combinations(segment.path, several):
                    yield Part(number, {"resolution": side, **values}, params, stretches)


def derive(named: Named, options: Options) -> AnyFamily:
    """The family around a named model of any class. Raises UsageError where it takes none of the sides of images, and
    UserError where no smaller network runs."""
    from search_spaces.tracing.choices import Shares

    usual = Shares()
    shares = Shares(
        options.width or usual.width, options.heads or usual.heads, options.depth or usual.depth, options.kernel
    )
    sides = resolutions(named, options)
    return _with_sides(named.name, sides, shares, named.resolution, bool(options.resolution))


def _with_sides(name: str, sides: Sequence[int], shares: Shares, own: int, asked: bool) -> AnyFamily:
    """With those sides of the image that the smallest network takes. Where a user asks for one side alone that isn't
    the model's own, it is built for that one, if timm can."""
    family = AnyFamily(NamedModel(name), (own,), shares)
    problem = ""
    try:
        elastic = family.elastic(LOOKED_AT)
        taken = [side for side in sides if side == own or not (problem := _problem(family, elastic, side))]
    except UserError:
        raise
    except Exception as error:  # whatever the model's code raises on an image of its own side
        raise UserError(f"{PREFIX}{name} is not supported because it doesn't run: {first_line(error)}") from None
    if len(taken) < len(sides) and asked:
        if len(sides) > 1:
            raise UsageError(f"{PREFIX}{name} takes images of {own} px or one other side: {problem}")
        return _for_side(name, sides[0], shares)
    return AnyFamily(NamedModel(name), tuple(taken), shares)


def _for_side(name: str, side: int, shares: Shares) -> AnyFamily:
    family = AnyFamily(NamedModel(name, side), (side,), shares)
    try:
        family.elastic(LOOKED_AT)
    except UserError:
        raise
    except Exception as error:
        raise UsageError(f"{PREFIX}{name} cannot take images of {side} px: {first_line(error)}") from None
    return family


def _problem(family: AnyFamily, elastic: ElasticModel, side: int) -> str:
    """Why the smallest network cannot take images of that side; empty: it can."""
    import torch

    from search_spaces.tracing.amounts import match_axes
    from search_spaces.tracing.trace import trace

    inputs = family.inputs(LOOKED_AT, side)
    try:
        with torch.no_grad():
            elastic.build(elastic.smallest())(*inputs.positional)
        match_axes(trace(elastic.model, inputs), elastic.trace)
    except Exception as error:  # whatever the model's code raises
        return first_line(error)
    return ""


def _values(architecture: Architecture) -> Values:
    return {name: value for name, value in architecture.genes if name != "resolution"}


def _genes_of_axes(elastic: ElasticModel, numbers: Mapping[int, int]) -> dict[int, str]:
    """Axis of another trace of the model -> gene; ``numbers``: the axis in the elastic model's own."""
    genes = {axis: each.gene.name for each in elastic.widths for axis in each.axes}
    return {axis: genes[own] for axis, own in numbers.items() if own in genes}


def _read_parts(elastic: ElasticModel, inputs: Inputs, paths: Sequence[str]) -> Parts:
    """Operators of the model on an image of some size, by parts."""
    from search_spaces.tracing.amounts import match_axes
    from search_spaces.tracing.operators import read_deployed
    from search_spaces.tracing.parts import Parts, parameter_amounts

    deployed = read_deployed(elastic.model, inputs)
    numbers = match_axes(deployed.trace, elastic.trace)
    same = {axis: axis for axis in elastic.trace.axes}
    genes, own = _genes_of_axes(elastic, numbers), _genes_of_axes(elastic, same)
    return Parts(deployed.ops, genes, paths, parameter_amounts(elastic), own)


def _gate(path: str, elastic: ElasticModel) -> tuple[str, Choice] | None:
    """When a part is there: where the depth of its run is large enough."""
    for each in elastic.depths:
        for number, block in enumerate(each.run.blocks):
            if f"{path}.".startswith(f"{block}.") and number >= each.gene.choices[0]:
                return each.gene.name, next(choice for choice in each.gene.choices if choice > number)
    return None
