"""Any model of which nothing is known beforehand: what it can shrink by is found out by running it once.

See ``search_spaces.tracing``. Widths, depths, heads and depthwise kernels are genes of their own names; the resolution
is one where the smallest network takes several sides.
"""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.builders.base_model import BaseModel
from search_spaces.errors import UserError
from search_spaces.genes import Gene
from search_spaces.operators.operator import Part
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop, Family, Pieces, Segment

if TYPE_CHECKING:
    from torch import nn

    from search_spaces.tracing.costs.parts import Parts
    from search_spaces.tracing.dimensions.layouts import Layout
    from search_spaces.tracing.elastic import ElasticModel, Values
    from search_spaces.tracing.inputs import Inputs
    from search_spaces.tracing.trace import Trace

LOOKED_AT = Interface(3, 10)
"""The ends that a model has when its genes are looked for; they don't depend on them."""
MOST_COMBINATIONS = 1024
"""A part of the network with more combinations of its genes is divided, if it can be."""
TOO_MANY = 65536
"""One with more combinations than this has costs that cannot be tabulated."""

ALWAYS = ("side of a filter", "an output of the model", "numbers of an index")
"""What stays in every model."""
_LAYERS = ("weight", "bias", "running_mean", "running_var")
"""Tensors that are called by their layer."""


@dataclass(frozen=True, eq=False)
class AnyFamily(Family):
    """A family around any model.

    Attributes:
        model: what builds it.
        resolutions: sides of the image in pixels.
        derived: what it can shrink by, with the ends :data:`LOOKED_AT` on the largest image.
    """

    model: BaseModel
    resolutions: tuple[int, ...]
    derived: ElasticModel = field(repr=False)
    _known: dict[tuple[Interface, Drop], ElasticModel] = field(default_factory=dict, repr=False)

    def elastic(self, interface: Interface, drop: Drop = NO_DROP) -> ElasticModel:
        """What the model with these ends can shrink by: the same as with others, since its ends belong to nothing that
        shrinks."""
        if (interface, drop) not in self._known:
            model = self.model.build(interface, device_of(self.derived), drop).eval()
            inputs = self.inputs(interface)
            self._known[interface, drop] = replace(
                self.derived, model=model, inputs=inputs, trace=with_ends(self.derived.trace, model)
            )
        return self._known[interface, drop]

    def inputs(self, interface: Interface, side: int | None = None) -> Inputs:
        """An image without values; of the largest side."""
        from search_spaces.tracing.inputs import image_of

        return image_of(interface, side or self.resolutions[-1], device_of(self.derived))

    def genes(self) -> tuple[Gene, ...]:
        return (Gene("resolution", self.resolutions), *self.derived.genes)

    def segments(self) -> tuple[Segment, ...]:
        elastic, parts = self.derived, self._divided
        order = [gene.name for gene in elastic.genes]
        found = []
        for path in parts.paths:
            names = tuple(sorted(parts.depends(path), key=order.index))
            found.append(Segment(path, ("resolution", *names), _gate(path, elastic)))
        return tuple(found)

    def blocks(self) -> tuple[Segment, ...]:
        from search_spaces.tracing.skeleton_parts import skeleton_parts

        return skeleton_parts(self.derived)

    def build(
        self, architecture: Architecture, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP
    ) -> nn.Module:
        from search_spaces.builders.rebuild import rebuild
        from search_spaces.tracing.copies import all_tensors
        from search_spaces.tracing.recipe import write_recipe
        from search_spaces.tracing.skeletons import make_skeleton

        elastic, values = self.elastic(interface, drop if device == "meta" else NO_DROP), _values(architecture)
        if device == "meta":
            return make_skeleton(elastic.model, elastic.trace, elastic.select(values))[0]
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
        return AnyPieces(self.elastic(interface), _values(architecture))

    def stays(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for each in self.derived.fixed():
            names = found.setdefault(each.reason, []) if not each.reason.startswith(ALWAYS) else []
            layer, _, tensor = each.name.partition(":")[0].rpartition(".")
            name = layer if layer and tensor in _LAYERS else f"{layer}.{tensor}".lstrip(".")
            if name not in names:
                names.append(name)
        for name, times in self.derived.unknown.items():
            found[f"the operator {name} has no rule"] = [f"{times} times"]
        return {reason: tuple(names) for reason, names in found.items()} | dict.fromkeys(self.derived.notes, ())

    @cached_property
    def _divided(self) -> Parts:
        """The parts that the costs are tabulated by."""
        from search_spaces.tracing.costs.parts import divide

        elastic = self.derived
        known = {gene.name: gene for gene in elastic.genes}
        return divide(_read_parts(elastic, elastic.inputs, ("",)), known, tuple(elastic.gates), MOST_COMBINATIONS)

    def parts(self, segments: tuple[Segment, ...], interface: Interface) -> Iterator[Part]:
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


class AnyPieces(Mapping[str, Pieces]):
    """What a network takes of every tensor, worked out where it is asked for; all of those that are not named."""

    def __init__(self, elastic: ElasticModel, values: Values) -> None:
        self.trace, self.names = elastic.trace, elastic.names
        self.widths = elastic.select(values).widths

    def __getitem__(self, name: str) -> Pieces:
        from search_spaces.tracing.dimensions.layouts import cut_of

        return cut_of(self.trace.tensors[self.names.get(name, name)], self.widths)

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, first in self.names.items() if first in self.trace.tensors)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def device_of(elastic: ElasticModel) -> str:
    """``cpu`` where the model's code looks at values, else ``meta``."""
    return next(elastic.model.parameters()).device.type


def with_ends(trace: Trace, model: nn.Module) -> Trace:
    """What is known of a model, for the same one with other ends."""
    from search_spaces.tracing.copies import all_tensors

    tensors = all_tensors(model)
    return replace(
        trace,
        tensors={name: tuple(map(_resized, layouts, tensors[name].shape)) for name, layouts in trace.tensors.items()},
    )


def _resized(layout: Layout, size: int) -> Layout:
    from search_spaces.tracing.dimensions.layouts import Fixed, full_size

    if full_size(layout) == size:
        return layout
    if not isinstance(layout, Fixed):
        raise ValueError(f"a dimension of {full_size(layout)} that can shrink has {size} with other ends")
    return Fixed(size)


def _values(architecture: Architecture) -> Values:
    return {name: value for name, value in architecture.genes if name != "resolution"}


def _read_parts(elastic: ElasticModel, inputs: Inputs, paths: Sequence[str]) -> Parts:
    """Operators of the model on an image of some size, by parts."""
    from search_spaces.tracing.costs.amounts import match_axes
    from search_spaces.tracing.costs.operators import read_deployed
    from search_spaces.tracing.costs.parts import Parts, parameter_amounts

    deployed = read_deployed(elastic.model, inputs)
    numbers = match_axes(deployed.trace, elastic.trace)
    own = elastic.axis_genes
    genes = {axis: own[known] for axis, known in numbers.items() if known in own}
    return Parts(deployed.ops, genes, paths, parameter_amounts(elastic), own)


def _gate(path: str, elastic: ElasticModel) -> tuple[str, Choice] | None:
    """When a part is there: where the depth of its run is large enough."""
    return next((gate for block, gate in elastic.gates.items() if f"{path}.".startswith(f"{block}.")), None)
