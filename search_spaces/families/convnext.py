"""timm's ``ConvNeXt``, V1 and V2: elastic resolution, and per stage width, depth and kernel.

Liu et al., A ConvNet for the 2020s, arXiv:2201.03545; Woo et al., ConvNeXt V2, arXiv:2301.00808. The hidden width of a
block's MLP is four times the stage's in all of timm's networks, so it follows the width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.timm_model import TimmFamily, TimmSpec
from search_spaces.errors import UsageError
from search_spaces.genes import Gene
from search_spaces.space import Family, Segment

from .options import Named, Options, depths, gate, multiples, resolutions


@dataclass(frozen=True)
class Stage:
    """One of the four stages: ascending choices of the channels, of the number of blocks and of the (odd) side of the
    depthwise kernels."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class ConvNeXtFamily(TimmFamily):
    """Stem, four stages, head; the stem has the width of stage 1."""

    stages: tuple[Stage, ...]

    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions)]
        for s, stage in enumerate(self.stages, start=1):
            choices = {"width": stage.widths, "depth": stage.depths, "kernel": stage.kernels}
            genes += [Gene(f"s{s}.{kind}", values) for kind, values in choices.items()]
        return tuple(genes)

    def segments(self) -> tuple[Segment, ...]:
        segments = []
        for s, stage in enumerate(self.stages, start=1):
            path, width = f"stages.{s - 1}", f"s{s}.width"
            if s > 1:
                segments.append(Segment(f"{path}.downsample", ("resolution", f"s{s - 1}.width", width)))
            for b in range(stage.depths[-1]):
                genes = ("resolution", width, f"s{s}.kernel")
                segments.append(Segment(f"{path}.blocks.{b}", genes, gate(f"s{s}.depth", b, stage.depths)))
        return (*segments, Segment("", ("resolution", "s1.width", f"s{len(self.stages)}.width")))

    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        chosen = dict(architecture.genes)
        stages = list(enumerate(self.stages, start=1))
        arguments = {
            "dims": [int(chosen.get(f"s{s}.width", stage.widths[-1])) for s, stage in stages],
            "depths": [int(chosen.get(f"s{s}.depth", stage.depths[-1])) for s, stage in stages],
            "kernel_sizes": [int(chosen.get(f"s{s}.kernel", stage.kernels[-1])) for s, stage in stages],
        }
        return TimmSpec(self.model, interface, arguments=arguments)


def derive(named: Named, options: Options) -> Family:
    """The family around a named model. Raises UsageError where a kernel's side is even: its output would not fit the
    shortcut."""
    if even := [k for k in options.kernel if k % 2 == 0]:
        raise UsageError(f"kernel={even[0]} in a space around {named.name}: kernels have odd sides, like kernel=3,5,7")
    net: Any = named.model
    stages = []
    for stage in net.stages:
        convolution = stage.blocks[0].conv_dw
        side = convolution.kernel_size[0]
        kernels = {k for k in (options.kernel or (3, 5)) if k < side} | {side}
        widths = multiples(convolution.out_channels, options.width)
        stages.append(Stage(widths, depths(len(stage.blocks), options), tuple(sorted(kernels))))
    return ConvNeXtFamily(named.name, resolutions(named, options), tuple(stages))
