"""Fractions in modules that are 1 over the root of a size, as the scale of an attention is: they follow the size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from .layouts import Layout, axes_of, full_size
from .origins import Attribute

_SMALLEST = 5
"""The root of fewer things is too common a fraction to be taken for one."""


def find_roots(
    model: nn.Module, tensors: Mapping[str, tuple[Layout, ...]], attributes: Mapping[Attribute, Layout]
) -> Iterator[tuple[Attribute, Layout]]:
    """Attributes that equal ``size ** -0.5`` for just one dimension that can shrink: one that a number in the same
    module follows, or of a tensor of the module or its children."""
    near: dict[str, set[Layout]] = {}
    for attribute, layout in attributes.items():
        near.setdefault(attribute.path, set()).add(layout)
    for name, layouts in tensors.items():
        owner = name.rpartition(".")[0]
        for path in {owner, owner.rpartition(".")[0]}:
            near.setdefault(path, set()).update(layouts)
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if type(value) is not float or "scale" not in name or not 0 < value < 1:
                continue  # momenta and rates may be such a fraction by chance
            found = {
                layout
                for layout in near.get(path, ())
                if full_size(layout) >= _SMALLEST and full_size(layout) ** -0.5 == value
            }
            if len(found) == 1 and any(True for layout in found for _ in axes_of(layout)):
                yield Attribute(path, name), found.pop()
