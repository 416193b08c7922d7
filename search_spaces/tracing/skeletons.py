"""Smaller networks: copies of a model's tree of modules with smaller tensors, other numbers, and fewer blocks."""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from search_spaces.builders.rebuild import mirror_shapes, replace_number, swap_tensors, take_out

from .copies import copy_tree, tensor_names
from .dimensions.layouts import Layout, full_size, measure, shape_of
from .dimensions.origins import Attribute
from .recipe import Recipe, Setting
from .trace import Trace


@dataclass(frozen=True)
class Selection:
    """What a network has of a model.

    Attributes:
        widths: axis -> things of it that it keeps; all of those of other axes.
        gone: paths of blocks that it does without, and whether they are taken out or replaced by ``nn.Identity``.
    """

    widths: Mapping[int, int] = field(default_factory=dict)
    gone: tuple[tuple[str, bool], ...] = ()

    def has(self, path: str) -> bool:
        """Whether it has what lies at a path, a module or a tensor."""
        return not any(f"{path}.".startswith(f"{block}.") for block, _ in self.gone)


def make_skeleton(model: nn.Module, trace: Trace, selection: Selection) -> tuple[nn.Module, Recipe]:
    """The network of a selection, and what makes it. Tensors that are smaller have no values; the others, and all that
    isn't a tensor or a number, are the model's own."""
    names = tensor_names(model)
    twin = copy_tree(model)
    made: dict[int, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def shrink(tensor: Tensor) -> Tensor:
        layouts = trace.tensors.get(names[id(tensor)], ())
        shape = shape_of(layouts, selection.widths)
        if not layouts or shape == tuple(tensor.shape):
            return tensor
        shapes[names[id(tensor)]] = shape
        if id(tensor) not in made:
            small = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
            made[id(tensor)] = nn.Parameter(small, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else small
        return made[id(tensor)]

    settings = [*_follow(trace, selection)]
    for setting in settings:
        where = setting.attribute
        replace_number(twin, where.path, where.name, where.place, setting.number)
    delete = tuple(path for path, taken_out in selection.gone if taken_out)
    identity = tuple(path for path, taken_out in selection.gone if not taken_out)
    take_out(twin, delete, identity)
    for module in twin.modules():
        swap_tensors(module, shrink)
        mirror_shapes(module)
    there = dict(twin.named_modules())
    return twin, Recipe(tuple(each for each in settings if each.attribute.path in there), delete, identity, shapes)


def _follow(trace: Trace, selection: Selection) -> list[Setting]:
    """Numbers that follow a dimension that is smaller."""
    found = []
    tables: tuple[tuple[Mapping[Attribute, Layout], Callable[[int], int]], ...] = (
        (trace.attributes, lambda size: size),
        (trace.halves, lambda size: size // 2),
    )
    for table, value in tables:
        for attribute, layout in table.items():
            size = measure(layout, selection.widths)
            if size != full_size(layout):
                found.append(Setting(attribute, value(size)))
    for attribute, root in trace.roots.items():
        if any(measure(layout, selection.widths) != full_size(layout) for layout in root.layouts):
            found.append(Setting(attribute, root.value(selection.widths)))
    return found
