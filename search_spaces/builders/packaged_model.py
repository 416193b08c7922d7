"""A model that a package builds by a name of its own, with random weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, first_line
from search_spaces.space import NO_DROP, Drop

from .base_model import on_device, refuse_drop

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PackagedModel(ABC):
    """A :class:`~search_spaces.builders.base_model.SidedModel`.

    Attributes:
        word: its name in the package.
        asked: side of its images in pixels, where it is built for another one than its own; None: its own.
        prefix: what the names of spaces around such models begin with.
    """

    prefix: ClassVar[str]

    word: str
    asked: int | None = None

    @property
    def name(self) -> str:
        return f"{self.prefix}{self.word}"

    def at(self, side: int) -> Self:
        return replace(self, asked=side)

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        refuse_drop(drop, self.name)
        make = self.find()
        with on_device(device):
            try:
                return make(interface.outputs, interface.in_chans)
            except Exception as error:  # whatever the package raises for this side or these settings
                raise UserError(f"{self.name} cannot be built: {first_line(error)}") from error

    @abstractmethod
    def find(self) -> Callable[[int, int], nn.Module]:
        """What makes the model for so many classes and channels. Raises UserError: the package is missing, or it has no
        such classifier."""
