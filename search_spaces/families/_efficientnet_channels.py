"""Which channels of an EfficientNet-type network may be reordered together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.channels import Axis, Group

if TYPE_CHECKING:
    from torch import nn


def channel_groups(model: nn.Module) -> list[Group]:
    """Groups of a timm ``EfficientNet`` or ``MobileNetV3``: every residual stream (from one change of width to the
    next) and the inner channels of every block. Networks with norms over channel groups have none, and a stream that
    an attention block touches is left out.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    net: Any = model
    given = [m for name, m in model.named_modules() if name.rpartition(".")[2].startswith("bn")]
    if not all(isinstance(m, _BatchNorm) for m in given if list(m.parameters(recurse=False))):
        return []
    walk = _Walk(model)
    stream: list[Axis | None] = [Axis("conv_stem.weight", 0), *walk.vectors("bn1")]
    for s, stage in enumerate(net.blocks):
        for b, block in enumerate(stage):
            reads, writes = walk.block(f"blocks.{s}.{b}", block)
            stream += reads
            if getattr(block, "has_skip", False):
                stream += writes
            else:
                walk.close(stream)
                stream = writes
    if "conv_head.weight" in walk.shapes:
        stream.append(Axis("conv_head.weight", 1, score=True))
        norms = [axis for module in ("conv_head", "bn2", "norm_head") for axis in walk.vectors(module)]
        walk.close([Axis("conv_head.weight", 0), *norms, Axis("classifier.weight", 1, score=True)])
    else:
        stream.append(Axis("classifier.weight", 1, score=True))
    walk.close(stream)
    return walk.groups


class _Walk:
    """Collects groups block by block; a group with an axis of unknown kind (None) is dropped."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes = {name: tensor.shape for name, tensor in model.state_dict(keep_vars=True).items()}
        self.groups: list[Group] = []

    def close(self, axes: Sequence[Axis | None]) -> None:
        """A finished group."""
        known = [axis for axis in axes if axis is not None]
        if len(known) == len(axes) and len(axes) > 1:
            self.groups.append(tuple(known))

    def vectors(self, prefix: str) -> list[Axis]:
        """Biases, norm weights and statistics of a module: everything that has the channels as its only dimension."""
        return [Axis(n, 0) for n, shape in self.shapes.items() if n.rpartition(".")[0] == prefix and len(shape) == 1]

    def squeeze(self, prefix: str) -> list[Axis | None]:
        """Axes of a squeeze-and-excitation on some channels; its own inner channels become a group."""
        if f"{prefix}.conv_reduce.weight" not in self.shapes:
            return [None] if any(name.startswith(prefix + ".") for name in self.shapes) else []
        reduce, expand = f"{prefix}.conv_reduce", f"{prefix}.conv_expand"
        self.close([Axis(f"{reduce}.weight", 0), *self.vectors(reduce), Axis(f"{expand}.weight", 1, score=True)])
        return [Axis(f"{reduce}.weight", 1, score=True), Axis(f"{expand}.weight", 0), *self.vectors(expand)]

    def depthwise(self, conv: str, norm: str) -> list[Axis | None]:
        """Axes of a depthwise convolution and its norm; unknown where filters are shared between channels."""
        weight = self.shapes.get(f"{conv}.weight")
        known = weight is not None and len(weight) == 4 and weight[1] == 1
        return [Axis(f"{conv}.weight", 0) if known else None, *self.vectors(norm)]

    def block(self, path: str, block: Any) -> tuple[list[Axis | None], list[Axis | None]]:
        """Axes on the block's input stream and on its output stream; closes the groups inside."""
        kind = type(block).__name__
        if kind == "InvertedResidual" and block.conv_s2d is None:
            inner = self.pointwise(f"{path}.conv_pw", f"{path}.bn1") + self.depthwise(f"{path}.conv_dw", f"{path}.bn2")
            self.close([*inner, *self.squeeze(f"{path}.se"), self.reader(f"{path}.conv_pwl")])
            return [self.reader(f"{path}.conv_pw")], self.pointwise(f"{path}.conv_pwl", f"{path}.bn3")
        if kind == "EdgeResidual":
            inner = [*self.pointwise(f"{path}.conv_exp", f"{path}.bn1"), *self.squeeze(f"{path}.se")]
            self.close([*inner, self.reader(f"{path}.conv_pwl")])
            return [self.reader(f"{path}.conv_exp")], self.pointwise(f"{path}.conv_pwl", f"{path}.bn2")
        if kind == "DepthwiseSeparableConv" and block.conv_s2d is None:
            reads = [*self.depthwise(f"{path}.conv_dw", f"{path}.bn1"), *self.squeeze(f"{path}.se")]
            return [*reads, self.reader(f"{path}.conv_pw")], self.pointwise(f"{path}.conv_pw", f"{path}.bn2")
        if kind == "ConvBnAct":
            return [self.reader(f"{path}.conv")], self.pointwise(f"{path}.conv", f"{path}.bn1")
        if kind == "UniversalInvertedResidual":
            return self.universal(path)
        return [None], [None]

    def universal(self, path: str) -> tuple[list[Axis | None], list[Axis | None]]:
        """MobileNetV4's block: optional depthwise convolutions before, between and after the two pointwise ones."""
        parts = {
            part: self.depthwise(f"{path}.{part}.conv", f"{path}.{part}.bn")
            if f"{path}.{part}.conv.weight" in self.shapes
            else []
            for part in ("dw_start", "dw_mid", "dw_end")
        }
        inner = [*self.pointwise(f"{path}.pw_exp.conv", f"{path}.pw_exp.bn"), *parts["dw_mid"]]
        self.close([*inner, *self.squeeze(f"{path}.se"), self.reader(f"{path}.pw_proj.conv")])
        reads = [*parts["dw_start"], self.reader(f"{path}.pw_exp.conv")]
        writes = self.pointwise(f"{path}.pw_proj.conv", f"{path}.pw_proj.bn")
        return reads, [*writes, *parts["dw_end"], *self.vectors(f"{path}.layer_scale")]

    def pointwise(self, conv: str, norm: str) -> list[Axis | None]:
        """Axes on what a dense convolution and its norm write."""
        known = f"{conv}.weight" in self.shapes
        return [Axis(f"{conv}.weight", 0) if known else None, *self.vectors(conv), *self.vectors(norm)]

    def reader(self, conv: str) -> Axis | None:
        """The axis of a dense convolution on what it reads."""
        return Axis(f"{conv}.weight", 1, score=True) if f"{conv}.weight" in self.shapes else None
