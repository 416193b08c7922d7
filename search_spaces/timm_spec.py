"""From a JSON description to a timm model.

An exported subnet carries such a description in ``architecture.json``. :func:`timm_model` needs timm alone, and its own
source text stands in the model card: what runs here is what users paste.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def timm_model(spec, device=None):  # type: ignore[no-untyped-def]
    """Build the timm model that architecture.json describes."""
    from functools import partial

    from timm.layers import get_act_layer
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.mobilenetv3 import MobileNetV3
    from torch import nn

    gate = partial(SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels)
    return MobileNetV3(
        block_args=decode_arch_def(spec["arch_def"]),
        num_classes=spec["num_classes"],
        in_chans=spec["in_chans"],
        stem_size=spec["stem_size"],
        fix_stem=True,
        num_features=spec["num_features"],
        act_layer=get_act_layer(spec["act_layer"]),
        se_layer=gate,
        device=device,
    )


def loader_source() -> str:
    """Source of :func:`timm_model`, for the model card."""
    text = inspect.getsource(timm_model)
    return text.replace("  # type: ignore[no-untyped-def]", "")


def build_spec(spec: dict[str, Any], device: str = "cpu") -> nn.Module:
    """Build ``spec`` on ``device``; on ``meta`` without storage or initialisation."""
    from . import timm_compat  # noqa: F401  (before timm is imported)

    model: nn.Module
    if device != "meta":
        model = timm_model(spec, device)
        return model
    from .no_init import NoInit

    with NoInit():
        model = timm_model(spec, "meta")
    return model
