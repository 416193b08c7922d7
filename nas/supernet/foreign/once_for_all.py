"""Once-for-All's published supernet weights under the names of our largest timm model.

Cai et al., Once-for-All, arXiv:1908.09791, published ``ofa_mbv3_d234_e346_k357_w1.0``, ``_w1.2`` and
``ofa_proxyless_d234_e346_k357_w1.3``. Our largest models of the spaces ``ofa-mbv3-w1.0``, ``ofa-mbv3-w1.2`` and
``ofa-proxyless`` have the same layers, and smaller networks take the same slices of them, so importing is renaming.

Published names number all blocks in one row. Older files say ``blocks.5.mobile_inverted_conv.depth_conv...``, newer
ones ``blocks.5.conv.depth_conv...``, and elastic layers repeat a step (``conv.conv.weight``, ``bn.bn.bias``). Here
every such name is first brought to one *short* form, ``blocks.5.depth_conv.conv.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas.quantization.grids import is_clip
from search_spaces.errors import UserError

_PART = re.compile(
    r"(blocks\.\d+\.)(?:mobile_inverted_conv|conv)\.(?=(?:inverted_bottleneck|depth_conv|point_linear)\.)"
)
_REPEATED = re.compile(r"\b(conv|bn|linear)\.\1\.")
_TIMM_BLOCK = re.compile(r"blocks\.\d+\.\d+\.")

# timm module -> short published module, relative to the block
_SQUEEZE = {"se.conv_reduce": "depth_conv.se.fc.reduce", "se.conv_expand": "depth_conv.se.fc.expand"}
_INVERTED = {
    "conv_pw": "inverted_bottleneck.conv", "bn1": "inverted_bottleneck.bn",
    "conv_dw": "depth_conv.conv", "bn2": "depth_conv.bn",
    "conv_pwl": "point_linear.conv", "bn3": "point_linear.bn",
} | _SQUEEZE  # fmt: skip
_SEPARABLE = {
    "conv_dw": "depth_conv.conv", "bn1": "depth_conv.bn",
    "conv_pw": "point_linear.conv", "bn2": "point_linear.bn",
} | _SQUEEZE  # fmt: skip
_OUTSIDE = {
    "conv_stem": "first_conv.conv", "bn1": "first_conv.bn",
    "conv_head": "feature_mix_layer.conv", "bn2": "feature_mix_layer.bn",
    "classifier": "classifier.linear",
}  # fmt: skip
_LAST = {"conv": "final_expand_layer.conv", "bn1": "final_expand_layer.bn"}

MARKS = (("first_conv.conv.weight",),)
"""A name that every published file has."""
# (channels of the first convolution, a MobileNetV3) -> the space that a published file belongs to
_SPACES = {(16, True): "ofa-mbv3-w1.0", (24, True): "ofa-mbv3-w1.2", (40, False): "ofa-proxyless"}


def is_ofa(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dictionary has Once-for-All's names of inverted residuals."""
    return any(map(_PART.match, state))


def convert_ofa(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Published weights under the names of ``model``.

    What published files lack is added: the head's bias (their head has none: zeros), counters of batches, and for a
    network that was trained without smaller kernels, identity kernel matrices, with which Once-for-All itself starts.

    Args:
        state: in either published layout.
        model: the largest network of the space, with kernel matrices (``nas.supernet.supernet.Supernet.model``).

    Returns:
        One tensor for every name of ``model.state_dict()``, in that order and of that shape, but for two that depend
        on the data: the number of classes and of image channels are the file's.

    Raises:
        UserError: tensors are missing, have no place in ``model``, or have another shape.
    """
    found = {_short(name): tensor for name, tensor in state.items()}
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not is_clip(name)}
    names = _published_names(list(wanted))
    no_matrices = not any(name.endswith("_matrix") for name in found)
    out, problems = {}, []
    for name, target in wanted.items():
        tensor = found.get(names[name])
        if tensor is None and (name == "conv_head.bias" or name.endswith("num_batches_tracked")):
            tensor = torch.zeros_like(target)
        elif tensor is None and name.endswith("_matrix") and no_matrices:
            tensor = torch.eye(len(target), dtype=target.dtype)
        if tensor is None:
            problems.append(f"{names[name]} is missing")
        elif _fixed_shape(name, tensor) != _fixed_shape(name, target):
            problems.append(f"{names[name]} is {_sizes(tensor)} in the file and {_sizes(target)} here")
        else:
            out[name] = tensor
    problems += [f"{name} has no place here" for name in sorted(found.keys() - set(names.values()))]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"these Once-for-All weights do not fit the space's largest network: {'; '.join(problems[:3])}{more}"
            + _advice(found)
        )
    return out


def _short(name: str) -> str:
    return _REPEATED.sub(r"\1.", _PART.sub(r"\1", name))


def _published_names(names: list[str]) -> dict[str, str]:
    """timm name -> short published name, for all names of a model; a name with no counterpart stays as it is."""
    prefixes = {name: match[0] for name in names if (match := _TIMM_BLOCK.match(name))}
    number = {prefix: i for i, prefix in enumerate(dict.fromkeys(prefixes.values()))}
    inverted = {prefix for prefix in number if f"{prefix}conv_pwl.weight" in prefixes}
    separable = {prefix for prefix in number if f"{prefix}conv_dw.weight" in prefixes} - inverted
    published = {}
    for name in names:
        prefix = prefixes.get(name, "")
        module, _, tensor = name.removeprefix(prefix).rpartition(".")
        if prefix in inverted:
            table, path = _INVERTED, f"blocks.{number[prefix]}."
        elif prefix in separable:
            table, path = _SEPARABLE, f"blocks.{number[prefix]}."
        else:
            table, path = (_LAST if prefix else _OUTSIDE), ""
        published[name] = f"{path}{table[module]}.{tensor}" if module in table else name
    return published


def _fixed_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    """Shape without the dimension that depends on the data set: classes, or channels of the image."""
    free = {"classifier.weight": 0, "classifier.bias": 0, "conv_stem.weight": 1}.get(name)
    return tuple(size for dim, size in enumerate(tensor.shape) if dim != free)


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _advice(found: Mapping[str, Tensor]) -> str:
    """Which space the file belongs to, where its first convolution tells."""
    stem = found.get("first_conv.conv.weight", torch.empty(0))
    key = (sum(stem.shape[:1]), "final_expand_layer.conv.weight" in found)
    return f"; by its first convolution the file is for `space` {_SPACES[key]}" if key in _SPACES else ""
