"""The MobileNetV3 family: elastic depth, stage width, and kernel and expansion per block.

Networks are timm's ``MobileNetV3`` (inverted residuals, squeeze-and-excitation, hard-swish, the "efficient head");
Howard et al., Searching for MobileNetV3, arXiv:1905.02244.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .architecture import Architecture
from .space import Gene, Segment
from .timm_spec import build_spec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Stage:
    """One elastic stage. Its first block has the stride, the others are residual.

    Attributes:
        widths, depths, kernels, expands: choices, ascending.
        stride: of the first block.
        se: squeeze-and-excitation ratio relative to the expanded width; 0: none.
        act: timm's two-letter activation code, ``re`` or ``hs``.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expands: tuple[int, ...]
    stride: int
    se: float = 0.0
    act: str = "hs"


@dataclass(frozen=True)
class MobileNetV3Family:
    """Fixed stem and first depthwise-separable block, elastic stages, fixed 1x1 convolution and head.

    Attributes:
        resolutions: choices of the input side in pixels.
        stem: channels of the stem convolution (stride 2) and of the first block.
        first_stride: stride of the first block.
        stages: the elastic part.
        last: channels of the 1x1 convolution before pooling.
        features: channels of the 1x1 convolution after pooling.
    """

    resolutions: tuple[int, ...]
    stem: int
    first_stride: int
    stages: tuple[Stage, ...]
    last: int
    features: int

    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions)]
        for s, stage in enumerate(self.stages, start=1):
            genes.append(Gene(f"s{s}.width", stage.widths))
            genes.append(Gene(f"s{s}.depth", stage.depths))
            for b in range(max(stage.depths)):
                gate = (f"s{s}.depth", b + 1) if b >= min(stage.depths) else None
                genes.append(Gene(f"s{s}.b{b}.kernel", stage.kernels, gate))
                genes.append(Gene(f"s{s}.b{b}.expand", stage.expands, gate))
        return tuple(genes)

    def segments(self) -> tuple[Segment, ...]:
        segments = []
        for s, stage in enumerate(self.stages, start=1):
            for b in range(max(stage.depths)):
                own = (f"s{s}.width", f"s{s}.b{b}.kernel", f"s{s}.b{b}.expand")
                before = (f"s{s - 1}.width",) if b == 0 and s > 1 else ()
                gate = (f"s{s}.depth", b + 1) if b >= min(stage.depths) else None
                segments.append(Segment(f"blocks.{s}.{b}", ("resolution", *before, *own), gate))
        last = len(self.stages)
        segments.append(Segment(f"blocks.{last + 1}.0", ("resolution", f"s{last}.width")))
        segments.append(Segment("", ("resolution",)))
        return tuple(segments)

    def timm_spec(self, architecture: Architecture, num_classes: int, in_chans: int) -> dict[str, Any]:
        blocks = [[f"ds_r1_k3_s{self.first_stride}_e1_c{self.stem}_nre"]]
        for s, stage in enumerate(self.stages, start=1):
            se = f"_se{stage.se}" if stage.se else ""
            blocks.append(
                [
                    f"ir_r1_k{architecture[f's{s}.b{b}.kernel']}_s{stage.stride if b == 0 else 1}"
                    f"_e{architecture[f's{s}.b{b}.expand']}_c{architecture[f's{s}.width']}{se}_n{stage.act}"
                    for b in range(int(architecture[f"s{s}.depth"]))
                ]
            )
        blocks.append([f"cn_r1_k1_s1_c{self.last}"])
        return {
            "model": "mobilenetv3",
            "arch_def": blocks,
            "stem_size": self.stem,
            "num_features": self.features,
            "act_layer": "hard_swish",
            "num_classes": num_classes,
            "in_chans": in_chans,
        }

    def build(self, architecture: Architecture, num_classes: int, in_chans: int, device: str = "cpu") -> nn.Module:
        return build_spec(self.timm_spec(architecture, num_classes, in_chans), device)
