"""Classifiers of torchvision, with random weights.

The text of :func:`torchvision_network` lies beside exported weights: it needs torch and torchvision alone.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# mypy: disable-error-code=arg-type
# (what is pasted has no types)

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, install_hint, unknown_name
from search_spaces.schema import Json

from .base_model import describe_base
from .packaged_model import PackagedModel

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


@dataclass(frozen=True)
class TorchvisionModel(PackagedModel):
    """A model of torchvision; ``word``: its name, ``regnet_x_400mf``."""

    prefix = PREFIX

    @property
    def side(self) -> int:
        return self.asked or _SIDES.get(self.word, _USUAL)

    @property
    def options(self) -> dict[str, Json]:
        """Keyword arguments of its function."""
        if self.word in _AUXILIARY:
            return {"aux_logits": False, "init_weights": False}
        return {"image_size": self.asked} if self.asked and self.word.startswith(_TAKES_SIDE) else {}

    def find(self) -> Callable[[int, int], nn.Module]:
        importlib.import_module(".timm_compat", __package__)  # before torchvision is imported
        if importlib.util.find_spec("torchvision") is None:
            raise UserError(f"{self.name} needs the package 'torchvision'; {install_hint('torchvision')}")
        from torchvision import models

        known = models.list_models(models)
        if self.word not in known:
            raise unknown_name("classifier of torchvision", self.word, known)
        return partial(torchvision_network, self.word, self.options)

    def to_json(self, interface: Interface) -> dict[str, Json]:
        return describe_base(self.name, interface, self.options)
