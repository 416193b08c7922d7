"""timm's ``ResNet``: elastic resolution, depth and width per stage, and the inner width of every bottleneck.

He et al., Deep Residual Learning, arXiv:1512.03385; the -D stem of He et al., Bag of Tricks, arXiv:1812.01187;
elastic as in Once-for-All's ResNet50D, Cai et al., arXiv:1908.09791.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.builders.timm_model import TimmFamily, TimmSpec
from search_spaces.genes import Gene
from search_spaces.space import Family, Segment

from .options import Named, Options, depths, fractions, gate, inner_width, multiples, resolutions


@dataclass(frozen=True)
class Stage:
    """One of the four stages; its first block has the stride.

    Attributes:
        widths: timm's ``channels`` of the stage; its output has ``expansion`` times as many. All choices ascend.
        depths: numbers of blocks.
        expands: a bottleneck's inner widths as fractions of its output (rounded to multiples of 8, see
            :func:`inner_width`); empty: as timm works it out.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    expands: tuple[float, ...] = ()


@dataclass(frozen=True)
class ResNetFamily(TimmFamily):
    """Stem, four stages, linear classifier.

    Attributes:
        expansion: output channels of a block over ``channels`` of its stage: 4 for bottlenecks, 1 for basic blocks.
        stems: choices of ``stem_width`` of a deep stem (three 3x3 convolutions, the last with twice the channels)
            before max pooling; empty: the model's own stem.
    """

    stages: tuple[Stage, ...]
    expansion: int = 4
    stems: tuple[int, ...] = ()

    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions), Gene("stem.width", self.stems)]
        for s, stage in enumerate(self.stages, start=1):
            genes += [Gene(f"s{s}.width", stage.widths), Gene(f"s{s}.depth", stage.depths)]
            for b in range(stage.depths[-1]):
                genes.append(Gene(f"s{s}.b{b}.expand", stage.expands, gate(f"s{s}.depth", b, stage.depths)))
        return tuple(genes)

    def segments(self) -> tuple[Segment, ...]:
        segments = []
        before = "stem.width"
        for s, stage in enumerate(self.stages, start=1):
            for b in range(stage.depths[-1]):
                genes = ("resolution", before if b == 0 else "", f"s{s}.width", f"s{s}.b{b}.expand")
                segments.append(Segment(f"layer{s}.{b}", genes, gate(f"s{s}.depth", b, stage.depths)))
            before = f"s{s}.width"
        return (*segments, Segment("", ("resolution", "stem.width", before)))

    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        chosen = dict(architecture.genes)
        layers = [int(chosen.get(f"s{s}.depth", stage.depths[-1])) for s, stage in enumerate(self.stages, start=1)]
        channels = [int(chosen.get(f"s{s}.width", stage.widths[-1])) for s, stage in enumerate(self.stages, start=1)]
        arguments: dict[str, Any] = {"layers": layers, "channels": channels}
        if self.stems:
            arguments["stem_width"] = int(chosen.get("stem.width", self.stems[-1]))
        elastic = any(stage.expands for stage in self.stages)
        blocks = {"block": list(self._inner_widths(chosen, layers, channels))} if elastic else {}
        return TimmSpec(self.model, interface, arguments=arguments, blocks=blocks)

    def _inner_widths(
        self, chosen: Mapping[str, Choice], layers: Sequence[int], channels: Sequence[int]
    ) -> Iterator[dict[str, float]]:
        """Constructor arguments of every block that are its own, in order."""
        for s, (stage, depth, planes) in enumerate(zip(self.stages, layers, channels, strict=True), start=1):
            for b in range(depth):
                if not stage.expands:
                    yield {}
                    continue
                expand = chosen.get(f"s{s}.b{b}.expand", stage.expands[-1])
                # timm: floor(planes * base_width / 64); half a channel more keeps rounding errors from losing one
                yield {"base_width": 64 * (inner_width(planes * self.expansion, expand) + 0.5) / planes}


def _has_eca(block: Any) -> bool:
    return type(getattr(block, "se", None)).__name__ == "EcaModule"


def derive(named: Named, options: Options) -> Family:
    """The family around a named model. Some networks vary depth and resolution only, because a slice of their channels
    would be another function: grouped convolutions (ResNeXt), group norm, blocks of other kinds (Res2Net, ResNeSt,
    SKNet) and pruned networks.
    """
    net: Any = named.model
    channels = named.arguments.get("channels", (64, 128, 256, 512))  # timm's default
    layers = [getattr(net, f"layer{s}") for s in range(1, len(channels) + 1)]
    expansion = layers[0][0].expansion
    outputs = [planes * expansion for planes in channels]
    rigid = outputs != [info["num_chs"] for info in net.feature_info[1:]] or not _sliceable(layers)
    stages = []
    stem = net.feature_info[0]["num_chs"]
    for s, (planes, blocks) in enumerate(zip(channels, layers, strict=True)):
        widths: tuple[int, ...] = (planes,)
        if not rigid:
            widths = _widths(planes, blocks[0], stem if s == 0 else 0, options)
        expands = () if rigid or expansion == 1 else _expands(planes * expansion, blocks[0], options)
        stages.append(Stage(widths, depths(len(blocks), options), expands))
    return ResNetFamily(named.name, resolutions(named, options), tuple(stages), expansion)


def _sliceable(layers: Sequence[Any]) -> bool:
    """Whether leading slices of the channels are the same network, only narrower."""
    from torch import nn

    blocks = [block for blocks in layers for block in blocks]
    return (
        all(type(block).__name__ in ("BasicBlock", "Bottleneck") for block in blocks)
        and all(type(block.bn1) is nn.BatchNorm2d and block.conv2.groups == 1 for block in blocks)
        and all(type(block.se).__name__ in ("NoneType", "SEModule", "EcaModule") for block in blocks)
        and all(blocks[0].stride > 1 for blocks in layers[1:])  # else equal widths would need no downsampling shortcut
    )


def _widths(planes: int, first: Any, stem: int, options: Options) -> tuple[int, ...]:
    """Choices of a stage's channels that leave the modules of its ``first`` block as they are.

    Stage 1 keeps the resolution of the ``stem``, so that its first block has a convolution in the shortcut only where
    the two have different channels. The kernel of an ECA module depends on the channels.
    """
    from timm.layers import EcaModule

    def kept(width: int) -> bool:
        channels = width * first.expansion
        if (channels == stem) != (planes * first.expansion == stem):
            return False
        return not _has_eca(first) or EcaModule(channels).conv.kernel_size == first.se.conv.kernel_size

    if planes * first.expansion == stem:
        return (planes,)
    return tuple(width for width in multiples(planes, options.width) if kept(width))


def _expands(width: int, first: Any, options: Options) -> tuple[float, ...]:
    """Choices of a bottleneck's inner width as a fraction of its output ``width``; none where ours would be another
    rounding of the model's own."""
    own = first.conv2.out_channels
    expands = tuple(own / width * f for f in fractions(options.expand, (0.5, 0.75)))
    return expands if inner_width(width, expands[-1]) == own else ()
