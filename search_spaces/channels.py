"""Which tensors of a network share a channel order: what must be permuted together for the output to stay the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One dimension of one tensor that is indexed by the channels (or heads) of a group.

    The dimension holds ``parts x n x unit`` elements for the group's ``n`` items: a ``qkv`` weight of an attention has
    3 parts, and its items are heads of ``unit`` rows.

    Attributes:
        name: of a parameter or buffer of the timm model.
        dim: dimension of it.
        parts: how often the items repeat along the dimension.
        unit: consecutive elements that belong to one item.
        score: whether the tensor's weights tell how important an item is.
    """

    name: str
    dim: int
    parts: int = 1
    unit: int = 1
    score: bool = False


Group = tuple[Axis, ...]
"""All axes that one order of channels (or heads) appears in."""
