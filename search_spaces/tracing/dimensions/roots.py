"""Fractions in modules that are 1 over the root of sizes, as the scale of an attention is: they follow the sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from .layouts import Layout, axes_of, full_size, measure
from .origins import Attribute

_SMALLEST = 5
"""The root of fewer things is too common a fraction to be taken for one."""
_GAINS = (0.99, 5.0)
"""What a fraction of a layer's own inputs is multiplied by lies between: the gains of activations (Brock et al.,
arXiv:2101.08692, have 1 to 4.8)."""


@dataclass(frozen=True)
class Root:
    """A number that is ``gain`` times the product of sizes to the power of -1/2."""

    layouts: tuple[Layout, ...]
    gain: float = 1.0

    def value(self, widths: Mapping[int, int]) -> float:
        """Where axes have these widths."""
        sizes: int = math.prod(measure(layout, widths) for layout in self.layouts)
        return self.gain * float(sizes**-0.5)


def find_roots(
    model: nn.Module, tensors: Mapping[str, tuple[Layout, ...]], attributes: Mapping[Attribute, Layout]
) -> Iterator[tuple[Attribute, Root]]:
    """Attributes that equal ``size ** -0.5`` for just one dimension that can shrink: one that a number in the same
    module follows, or of a tensor of the module or its children. Likewise those of a convolution that has a gain over
    the root of its inputs, as layers with standardised weights have."""
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
            root = Root((found.pop(),)) if len(found) == 1 else _root_of_inputs(path, module, value, tensors)
            if any(True for layout in root.layouts for _ in axes_of(layout)):
                yield Attribute(path, name), root


def _root_of_inputs(path: str, module: nn.Module, value: float, tensors: Mapping[str, tuple[Layout, ...]]) -> Root:
    """A fraction as a gain over the root of what one output of a convolution sums over; without sizes: it isn't."""
    layouts = tensors.get(f"{path}.weight".lstrip("."), ())[1:]
    if not isinstance(module, nn.modules.conv._ConvNd) or module.transposed:
        return Root(())
    inputs = math.prod(map(full_size, layouts))
    gain = value * inputs**0.5
    return Root(layouts, gain) if inputs >= _SMALLEST and _GAINS[0] <= gain <= _GAINS[1] else Root(())
