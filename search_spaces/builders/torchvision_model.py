"""Classifiers of torchvision, with random weights. The text of :data:`BUILDING` lies beside exported weights: it needs
torch and torchvision alone."""

# mypy: allow-untyped-defs, allow-untyped-calls
# mypy: disable-error-code=arg-type
# (what is pasted has no types)

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, first_line, install_hint, unknown_name
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

from .base_model import refuse_drop

if TYPE_CHECKING:
    from torch import nn

PREFIX = "torchvision:"
"""What the name of a space around a model of torchvision begins with."""

_AUXILIARY = ("googlenet", "inception_v3")
"""What gives several outputs in training unless it is told not to; its own first weights take a minute."""
_SIDES = {"inception_v3": 299}
_TAKES_SIDE = "vit_"
_USUAL = 224


def torchvision_network(name, options, num_classes, in_chans):
    """A classifier of torchvision with random weights."""
    import torch
    from torchvision import models

    if name not in models.list_models(models) or not {"aux_logits", "image_size", "init_weights"} >= set(options):
        raise ValueError(f"torchvision has no classifier {name!s:.40} with such options")
    model = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if in_chans != 3:
        path, first = next((path, module) for path, module in model.named_modules()
                           if isinstance(module, torch.nn.Conv2d) and module.in_channels == 3)  # fmt: skip
        owner, _, key = path.rpartition(".")
        sizes = (in_chans, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation)
        setattr(model.get_submodule(owner), key, torch.nn.Conv2d(*sizes, bias=first.bias is not None))
    return model


BUILDING = (torchvision_network,)


@dataclass(frozen=True)
class TorchvisionModel:
    """A model of torchvision.

    Attributes:
        word: its name, ``regnet_x_400mf``.
        asked: side of its images in pixels, where it is built for another one than its own; None: its own.
    """

    word: str
    asked: int | None = None

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.word}"

    @property
    def side(self) -> int:
        return self.asked or _SIDES.get(self.word, _USUAL)

    def at(self, side: int) -> TorchvisionModel:
        return replace(self, asked=side)

    @property
    def options(self) -> dict[str, Json]:
        """Keyword arguments of its function."""
        if self.word in _AUXILIARY:
            return {"aux_logits": False, "init_weights": False}
        return {"image_size": self.asked} if self.asked and self.word.startswith(_TAKES_SIDE) else {}

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        import torch

        from .timm_compat import NoInit  # before torchvision is imported

        if importlib.util.find_spec("torchvision") is None:
            raise UserError(f"{self.name} needs the package 'torchvision'; {install_hint('torchvision')}")
        from torchvision import models

        refuse_drop(drop, self.name)
        known = models.list_models(models)
        if self.word not in known:
            raise unknown_name("classifier of torchvision", self.word, known)
        with NoInit() if device == "meta" else nullcontext(), torch.device(device):
            try:
                network: nn.Module = torchvision_network(self.word, self.options, interface.outputs, interface.in_chans)
            except Exception as error:  # whatever torchvision raises for this side
                raise UserError(f"{self.name} cannot be built: {first_line(error)}") from error
        return network

    def to_json(self, interface: Interface) -> dict[str, Json]:
        ends = {"num_classes": interface.outputs, "in_chans": interface.in_chans}
        return {"model": self.name, "options": self.options, "arguments": {}, "blocks": {}, **ends}
