"""Views of a supernet's tensors for a smaller network of the same names.

The one rule: a convolution kernel is cropped at its centre, every other dimension is a leading slice. Views share
storage and gradients with the supernet, so training a subnet trains the supernet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

Slices = tuple[slice, ...]


def slices(large: torch.Size, small: torch.Size, name: str = "tensor") -> Slices | None:
    """Index that cuts a tensor of shape ``small`` out of one of shape ``large``; None where they are equal.

    The last two dimensions of a 4-D weight are kernel height and width: cropped at the centre.

    Raises:
        ValueError: ``small`` does not fit into ``large``.
    """
    if large == small:
        return None
    if len(large) != len(small) or any(s > b for s, b in zip(small, large, strict=True)):
        raise ValueError(f"{name}: {tuple(small)} is not a part of {tuple(large)}")
    index = [slice(0, s) for s in small]
    if len(small) == 4:
        for d in (2, 3):
            start = (large[d] - small[d]) // 2
            index[d] = slice(start, start + small[d])
    return tuple(index)


def plan(source: Mapping[str, Tensor], shapes: Iterable[tuple[str, torch.Size]]) -> list[tuple[str, Slices | None]]:
    """For every name of the smaller network, how to cut it out of ``source``."""
    return [(name, slices(source[name].shape, shape, name)) for name, shape in shapes]


def borrow(source: Mapping[str, Tensor], cuts: Iterable[tuple[str, Slices | None]]) -> dict[str, Tensor]:
    """Views of ``source`` by a :func:`plan`. Gradients flow through them; buffers are written through them."""
    return {name: source[name] if index is None else source[name][index] for name, index in cuts}


def named_shapes(model: nn.Module) -> list[tuple[str, torch.Size]]:
    """Names and shapes of all parameters and persistent buffers."""
    return [(name, tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()]
