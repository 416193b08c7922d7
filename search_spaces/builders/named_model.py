"""A timm model as timm builds it for a name, with other ends, and nothing else changed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

from .timm_model import TimmSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NamedModel:
    """A model that timm knows by name.

    Attributes:
        name: timm's, with a pretrained tag if one was given.
        side: of the image in pixels, where the model is built for another one than its own; None: its own.
    """

    name: str
    side: int | None = None

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        """The model, freshly initialised; on ``meta`` without storage or initialisation. A model that knows no
        stochastic depth is built without."""
        from .timm_compat import NoInit, timm

        options: dict[str, Json] = {} if self.side is None else {"img_size": self.side}
        several = [options] if drop == NO_DROP else [
            {**options, "drop_rate": drop[0], "drop_path_rate": drop[1]}, {**options, "drop_rate": drop[0]}, options
        ]  # fmt: skip
        with NoInit() if device == "meta" else nullcontext():
            while True:
                given = several.pop(0)
                try:
                    model: nn.Module = timm.create_model(
                        self.name, num_classes=interface.outputs, in_chans=interface.in_chans, device=device, **given
                    )
                except TypeError:  # an argument that its class doesn't take
                    if not several:
                        raise
                else:
                    return model

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """What an exported folder says of it, without the recipe of a smaller network."""
        side: dict[str, Json] = {} if self.side is None else {"img_size": self.side}
        return TimmSpec(self.name, interface, side).to_json()
