"""Which tensors of a network share a channel order: what must be permuted together for the output to stay the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Axis:
    """One dimension of one tensor that is indexed by the channels (or heads) of a group.

    The dimension holds ``parts x n x unit`` elements for the group's ``n`` items: a ``qkv`` weight of an attention has
    3 parts, and its items are heads of ``unit`` rows. With ``within`` it is the part of the dimension from the first to
    before the second number that holds them: channels of several groups may lie end to end.

    ``name`` is that of a parameter or buffer; ``score`` says whether its weights tell how important an item is.
    """

    name: str
    dim: int
    parts: int = 1
    unit: int = 1
    score: bool = False
    within: tuple[int, int] | None = None


Group = tuple[Axis, ...]
"""All axes that one order of channels (or heads) appears in."""


def writes(model: nn.Module, *paths: str) -> tuple[Axis, ...]:
    """Output channels of modules (convolutions, linear layers, norms): the first dimension of all their tensors."""
    return tuple(
        Axis(f"{path}.{name}", 0)
        for path in paths
        for name, tensor in model.get_submodule(path).state_dict(keep_vars=True).items()
        if tensor.ndim
    )


def reads(*paths: str) -> tuple[Axis, ...]:
    """Input channels of dense convolutions and linear layers."""
    return tuple(Axis(f"{path}.weight", 1, score=True) for path in paths)


def has(model: nn.Module, path: str) -> bool:
    """Whether the model has a module at that path."""
    return any(name == path for name, _ in model.named_modules())
