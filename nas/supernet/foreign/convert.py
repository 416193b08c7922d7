"""Weights of other projects under timm's names.

Only names change, never values. A layout is recognised by its names, so the file may be called anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# A block of timm's is ``conv_pw bn1, conv_dw bn2, conv_pwl bn3`` (expand, depthwise, project); one that does not
# expand is ``conv_dw bn1, conv_pw bn2``.
_EXPANDING = {
    "expand": "conv_pw", "bn0": "bn1", "depthwise": "conv_dw", "bn1": "bn2", "project": "conv_pwl", "bn2": "bn3",
}  # fmt: skip
_PLAIN = {"depthwise": "conv_dw", "bn1": "bn1", "project": "conv_pw", "bn2": "bn2"}

# torchvision's MobileNetV2: what a block's sub-modules are, by whether it expands.
_TORCHVISION = {
    True: {"0.0": "expand", "0.1": "bn0", "1.0": "depthwise", "1.1": "bn1", "2": "project", "3": "bn2"},
    False: {"0.0": "depthwise", "0.1": "bn1", "1": "project", "2": "bn2"},
}
# EfficientNet-PyTorch, for its MBConv blocks and for what lies outside them.
_MBCONV = {
    "_expand_conv": "expand", "_bn0": "bn0", "_depthwise_conv": "depthwise", "_bn1": "bn1", "_project_conv": "project",
    "_bn2": "bn2", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand",
}  # fmt: skip
_OUTSIDE = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
}  # fmt: skip


MARKS = (
    ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight"),
    ("features.0.0.weight", "features.1.conv.0.0.weight"),
)
"""Names that are all there in a file of EfficientNet-PyTorch, and of torchvision's MobileNetV2."""


def convert(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """``state`` under timm's names; as it is where its layout is not a known one.

    Known are torchvision's MobileNetV2 (``features.1.conv.0.0.weight``) and EfficientNet-PyTorch with its Lite
    descendants (``_blocks.0._depthwise_conv.weight``). Both count blocks through; timm counts them within stages, so
    block n becomes the n-th block that ``names`` knows.

    Args:
        state: tensors of a checkpoint by name.
        names: tensors of the timm model that they are meant for.
    """
    if is_efficientnet_pytorch(state):
        rename = _efficientnet_pytorch
    elif all(name in state for name in MARKS[1]):
        rename = _torchvision_mobilenetv2
    else:
        return dict(state)
    found = (re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in names)
    blocks = sorted({(int(m[1]), int(m[2])) for m in found if m})
    paths = [f"blocks.{stage}.{block}" for stage, block in blocks]
    return {rename(name, state, paths): tensor for name, tensor in state.items()}


def is_efficientnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are EfficientNet-PyTorch's, whose networks pad as TensorFlow's do."""
    return all(name in state for name in MARKS[0])


def _efficientnet_pytorch(name: str, state: Mapping[str, Tensor], paths: list[str]) -> str:
    if match := re.fullmatch(r"_blocks\.(\d+)\.(_[a-z]+(?:_conv|_reduce|_expand)|_bn\d)\.(\w+)", name):
        number, module, leaf = int(match[1]), match[2], match[3]
        if number < len(paths) and module in _MBCONV:
            expands = f"_blocks.{number}._expand_conv.weight" in state
            return f"{paths[number]}.{_in_block(_MBCONV[module], expands)}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{_OUTSIDE[module]}.{leaf}" if module in _OUTSIDE else name


def _torchvision_mobilenetv2(name: str, state: Mapping[str, Tensor], paths: list[str]) -> str:
    head = len(paths) + 1
    outside = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.1": "classifier"}
    outside |= {f"features.{head}.0": "conv_head", f"features.{head}.1": "bn2"}
    if match := re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)", name):
        number, module, leaf = int(match[1]) - 1, match[2], match[3]
        expands = f"features.{match[1]}.conv.3.weight" in state
        if number < len(paths) and module in _TORCHVISION[expands]:
            return f"{paths[number]}.{_in_block(_TORCHVISION[expands][module], expands)}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{outside[module]}.{leaf}" if module in outside else name


def _in_block(role: str, expands: bool) -> str:
    return (_EXPANDING if expands else _PLAIN).get(role, role)
