"""A timm model as timm builds it for a name, with other ends, and nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

from .timm_model import TimmSpec

if TYPE_CHECKING:
    from torch import nn

DROPS = ("drop_rate", "drop_path_rate")
"""How timm calls the probabilities of :data:`search_spaces.space.Drop`; many models have others than 0 unless they are
given."""


@dataclass(frozen=True)
class NamedModel:
    """A model that timm knows by name.

    Attributes:
        name: timm's, with a pretrained tag if one was given.
        side: of the image in pixels, where the model is built for another one than its own; None: its own.
        dynamic: it is built for images of several sides.
    """

    name: str
    side: int | None = None
    dynamic: bool = False

    @property
    def options(self) -> dict[str, Json]:
        """Keyword arguments of ``timm.create_model``."""
        side: dict[str, Json] = {} if self.side is None else {"img_size": self.side}
        return {**side, "dynamic_img_size": True} if self.dynamic else side

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        """The model, freshly initialised; on ``meta`` without storage or initialisation. Raises UsageError where it is
        to drop something and has no such rate."""
        from .timm_compat import NoInit

        rates = dict(zip(DROPS, drop, strict=True))
        taken = _drops(self)
        for (name, rate), setting in zip(rates.items(), ("dropout", "drop_path"), strict=True):
            if rate and name not in taken:
                raise UsageError(f"`{setting}`: timm's {self.name} has none; leave it at 0")
        with NoInit() if device == "meta" else nullcontext():
            return _create(self, interface, device, {name: rates[name] for name in taken})

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """What an exported folder says of it, without the recipe of a smaller network: it drops nothing, as the
        supernet's subnets don't."""
        return TimmSpec(self.name, interface, {**self.options, **dict.fromkeys(_drops(self), 0.0)}).to_json()


def _create(model: NamedModel, interface: Interface, device: str, rates: Mapping[str, float]) -> nn.Module:
    from .timm_compat import timm

    created: nn.Module = timm.create_model(
        model.name,
        num_classes=interface.outputs,
        in_chans=interface.in_chans,
        device=device,
        **model.options,
        **rates,
    )
    return created


@lru_cache(maxsize=64)
def _drops(model: NamedModel) -> tuple[str, ...]:
    """Those of :data:`DROPS` that the model takes."""
    from .timm_compat import NoInit

    for names in (DROPS, DROPS[:1], DROPS[1:]):
        with NoInit():
            try:
                _create(model, Interface(3, 10), "meta", dict.fromkeys(names, 0.0))
            except TypeError:  # an argument that its class doesn't take
                continue
        return names
    return ()
