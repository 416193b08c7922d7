"""What builds the model that a space is made around, whatever package its code is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

if TYPE_CHECKING:
    from torch import nn


class BaseModel(Protocol):
    """A frozen value: equal ones build the same model."""

    @property
    def name(self) -> str:
        """For messages."""

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        """The model, freshly initialised; on ``meta`` without storage or initialisation. Raises UsageError where it is
        to drop something and has no such rate, and UserError where it cannot be built."""

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """What an exported folder says of it, in the keys of ``timm_model.TimmSpec``, without the recipe of a smaller
        network."""


class SidedModel(BaseModel, Protocol):
    """A model that knows for which images it is made."""

    @property
    def side(self) -> int:
        """Pixels of the side of an image that it is made for."""

    def at(self, side: int) -> SidedModel:
        """The same for images of another side."""


def describe_base(name: str, interface: Interface, options: Mapping[str, Json]) -> dict[str, Json]:
    """What :meth:`BaseModel.to_json` says of a model that is none of timm's; ``options``: what its builder is given."""
    ends = {"num_classes": interface.outputs, "in_chans": interface.in_chans}
    return {"model": name, "options": options, "arguments": {}, "blocks": {}, **ends}


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Models are made on a device; on ``meta`` without storage or initialisation."""
    import torch

    from .no_init import NoInit

    with NoInit() if device == "meta" else nullcontext(), torch.device(device):
        yield


def refuse_drop(drop: Drop, name: str) -> None:
    """Raises UsageError where a model is to drop something that has no setting for it."""
    for rate, setting in zip(drop, ("dropout", "drop_path"), strict=True):
        if rate:
            raise UsageError(f"`{setting}`: {name} has no such setting; leave it at 0, and drop in its own code")
