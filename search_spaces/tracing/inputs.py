"""What a model is called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from search_spaces.architecture import Interface


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arguments of a call of a model, by place and by name. Tensors of batch 1 are enough: the batch is fixed while
    the model is looked at, and free afterwards."""

    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: str) -> Inputs:
        """The same on another device; values are lost on ``meta``, and are zeros coming from there."""
        return Inputs(
            tuple(_move(value, device) for value in self.positional),
            {name: _move(value, device) for name, value in self.named.items()},
        )


def image_of(interface: Interface, side: int, device: str) -> Inputs:
    """One image, of zeros where it has values."""
    return Inputs((torch.zeros(1, interface.in_chans, side, side, device=device),))


def _move(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        if value.is_meta and device != "meta":
            return torch.zeros(value.shape, dtype=value.dtype, device=device)
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(_move(each, device) for each in value)
    if isinstance(value, Mapping):
        return {name: _move(each, device) for name, each in value.items()}
    return value
