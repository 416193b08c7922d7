"""The networks of timm's EfficientNet builder: MobileNetV1 to V4, EfficientNet, -Lite, MNASNet, FBNet, TinyNet, ...

Elastic are the input resolution, and per stage the depth, the width, kernel sizes and expansions. timm describes such a
network by *block arguments*, one dictionary per block; an architecture is a shorter and smaller list of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.builders.timm_model import TimmFamily, TimmSpec
from search_spaces.genes import Gene
from search_spaces.schema import Json
from search_spaces.space import Family, Segment

from .options import Named, Options, depths, fractions, gate, multiples, resolutions, unsupported

if TYPE_CHECKING:
    from torch import nn

KERNEL = {
    "ir": "dw_kernel_size", "ds": "dw_kernel_size", "dsa": "dw_kernel_size", "er": "exp_kernel_size",
    "uir": "dw_kernel_size_mid",
}  # fmt: skip
"""Block type -> the argument that is its elastic kernel."""

EXPANDING = ("ir", "er", "uir")
"""Block types with an elastic expansion."""


class BlockArgs(TypedDict, total=False):
    """timm's arguments of a block, which JSON can hold. What isn't listed here is passed on as it is."""

    block_type: str
    stride: int
    act_layer: str | None
    out_chs: int
    force_in_chs: int | None
    kernel_size: int
    dw_kernel_size: int
    exp_kernel_size: int
    pw_kernel_size: int
    group_size: int
    num_experts: int
    exp_ratio: float
    se_ratio: float
    skip: bool
    noskip: bool
    pw_act: bool
    s2d: bool


@dataclass(frozen=True, eq=False)
class Block:
    """One block: timm's arguments, of which kernel, expansion and ``out_chs`` are replaced by what is chosen, and the
    choices, ascending; empty: as in ``args``."""

    args: BlockArgs
    kernels: tuple[int, ...] = ()
    expands: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Stage:
    """Blocks of one resolution; the first may have a stride.

    Attributes:
        blocks: as many as the largest depth; choices ascend.
        widths: choices of the output channels; empty: every block's own ``out_chs``.
        tied: the width is that of the stage before, since the first block is residual.
        times: the width is this many times that of the stage before; 0: the stage has its own width.
        per_block: every block has its own kernel and expansion; otherwise the stage has one of each.
    """

    blocks: tuple[Block, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...] = ()
    tied: bool = False
    times: int = 0
    per_block: bool = True


@dataclass(frozen=True, eq=False)
class EfficientNetFamily(TimmFamily):
    """A stem, stages, and a head of timm's ``EfficientNet`` or ``MobileNetV3`` class.

    Attributes:
        stems: choices of the stem's channels.
        heads: choices of the channels of the last 1x1 convolution; empty: the model's own.
        options: keyword arguments of ``timm.create_model``.
        multipliers: where given, one gene chooses the stem's and all stages' channels together: the n-th of each.
    """

    stems: tuple[int, ...]
    stages: tuple[Stage, ...]
    heads: tuple[int, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    multipliers: tuple[float, ...] = ()

    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions)]
        genes.append(Gene("width", self.multipliers) if self.multipliers else Gene("stem.width", self.stems))
        for s, stage in enumerate(self.stages):
            if not stage.tied and not self.multipliers:
                genes.append(Gene(f"s{s}.width", stage.widths))
            genes.append(Gene(f"s{s}.depth", stage.depths))
            for b, block in enumerate(stage.blocks):
                prefix = f"s{s}.b{b}" if stage.per_block else f"s{s}"
                there = gate(f"s{s}.depth", b, stage.depths) if stage.per_block else None
                if stage.per_block or b == 0:
                    genes.append(Gene(f"{prefix}.kernel", block.kernels, there))
                    genes.append(Gene(f"{prefix}.expand", block.expands, there))
        return (*genes, Gene("head.width", self.heads))

    def segments(self) -> tuple[Segment, ...]:
        segments = []
        before = stem = "width" if self.multipliers else "stem.width"
        for s, stage in enumerate(self.stages):
            width = before if stage.tied or stage.times or self.multipliers else f"s{s}.width"
            for b in range(len(stage.blocks)):
                prefix = f"s{s}.b{b}" if stage.per_block else f"s{s}"
                own = ("resolution", before if b == 0 else width, width, f"{prefix}.kernel", f"{prefix}.expand")
                segments.append(Segment(f"blocks.{s}.{b}", own, gate(f"s{s}.depth", b, stage.depths)))
            before = width
        return (*segments, Segment("", ("resolution", stem, before, "head.width")))

    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        chosen = dict(architecture.genes)
        stem = self._width(chosen, "stem.width", self.stems)
        blocks = list(self._block_args(chosen, stem))
        arguments: dict[str, Any] = {"block_args": blocks, "stem_size": stem, "fix_stem": True}
        if self.heads:
            arguments["num_features"] = chosen.get("head.width", self.heads[-1])
        return TimmSpec(self.model, interface, dict(self.options), arguments)

    def _width(self, chosen: Mapping[str, Choice], gene: str, widths: tuple[int, ...]) -> int:
        """Channels of the stem or a stage; 0 where they are fixed by block."""
        if self.multipliers and len(widths) > 1:
            return widths[self.multipliers.index(chosen["width"])]
        return int(chosen.get(gene, widths[-1] if widths else 0))

    def _block_args(self, chosen: Mapping[str, Choice], before: int) -> Iterator[list[BlockArgs]]:
        for s, stage in enumerate(self.stages):
            width = self._width(chosen, f"s{s}.width", stage.widths)
            if stage.tied or stage.times:
                width = before * max(1, stage.times)
            blocks = []
            for b, block in enumerate(stage.blocks[: int(chosen.get(f"s{s}.depth", stage.depths[-1]))]):
                prefix = f"s{s}.b{b}" if stage.per_block else f"s{s}"
                args = block.args.copy()
                if block.kernels:
                    kernel = chosen.get(f"{prefix}.kernel", block.kernels[-1])
                    args[KERNEL[args["block_type"]]] = kernel  # type: ignore[literal-required]
                if block.expands:
                    args["exp_ratio"] = chosen.get(f"{prefix}.expand", block.expands[-1])
                args["out_chs"] = width or args["out_chs"]
                blocks.append(args)
            yield blocks
            before = int(blocks[-1]["out_chs"])


def derive(named: Named, options: Options) -> Family:
    """The family around a named model. Networks with mixed kernels, conditional convolutions, space-to-depth blocks or
    norms over many channels vary depth and resolution only: in these a channel's place decides what is done with it, so
    a slice is another function.
    """
    net: Any = named.model
    given = [[_json_block(args, named) for args in stage] for stage in named.arguments["block_args"]]
    rigid = _rigid(net, given)
    stages: list[Stage] = []
    stem = net.conv_stem.out_channels
    inputs: tuple[int, ...] = (stem,)
    for blocks, modules in zip(given, net.blocks, strict=True):
        own = {args["out_chs"] for args in blocks}
        residual = bool(getattr(modules[0], "has_skip", False))
        fixed = rigid or len(own) > 1 or (residual and len(inputs) == 1)
        tied = residual and not fixed
        widths = () if fixed or tied else multiples(max(own), options.width)
        if not residual:  # nor in a subnet where the two widths happen to be equal
            blocks[0].update({"skip": False} if blocks[0]["block_type"] == "cn" else {"noskip": True})
        after = widths or (inputs if tied else (blocks[-1]["out_chs"],))
        before = [inputs] + [after] * (len(blocks) - 1)
        expands = [() if rigid else _expands(args, w, named, options) for args, w in zip(blocks, before, strict=True)]
        elastic = [Block(args, _kernels(args, options), e) for args, e in zip(blocks, expands, strict=True)]
        stages.append(Stage(tuple(elastic), _depths(blocks, len(own) == 1, depths(len(blocks), options)), widths, tied))
        inputs = after
    return EfficientNetFamily(named.name, resolutions(named, options), (stem,), tuple(stages))


def _rigid(net: nn.Module, stages: list[list[BlockArgs]]) -> bool:
    """Whether a channel's place decides what is done with it."""
    from torch import nn

    norms = [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
    return any(m.num_channels // m.num_groups > 8 for m in norms) or any(
        args.get("num_experts") or args.get("s2d") or args.get("group_size", 1) > 8
        or any(isinstance(value, list) for value in args.values())
        for stage in stages for args in stage
    )  # fmt: skip


def _depths(blocks: list[BlockArgs], uniform: bool, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Depth choices: blocks of other widths cannot be left out, and timm wants no attention block at a stage's end."""
    if not uniform:
        return (len(blocks),)
    return tuple(d for d in wanted if d == len(blocks) or blocks[d - 1]["block_type"] not in ("mqa", "mha"))


def _kernels(args: BlockArgs, options: Options) -> tuple[int, ...]:
    """Kernel choices of a block of a named model."""
    own = args.get(KERNEL.get(args["block_type"], ""), 0)
    if not isinstance(own, int) or own <= 3:
        return ()
    wanted = options.kernel or range(3, own, 2)
    return (*sorted({k for k in wanted if k < own and (own - k) % 2 == 0}), own)


def _expands(args: BlockArgs, inputs: tuple[int, ...], named: Named, options: Options) -> tuple[float, ...]:
    """Expansion choices of a block; those that would widen its squeeze-and-excitation by rounding are left out."""
    from timm.layers import make_divisible

    own = args.get("exp_ratio", 1)
    if args["block_type"] not in EXPANDING or own <= 1:
        return ()
    keywords = getattr(named.arguments.get("se_layer"), "keywords", {})
    rounded = keywords.get("rd_round_fn") or round

    def squeezed(ratio: float, width: int) -> int:
        from_expanded = type(named.model).__name__ == "MobileNetV3" and named.arguments.get("se_from_exp", True)
        share = args.get("se_ratio", 0) / (1 if from_expanded else ratio)
        return int(rounded(make_divisible(width * ratio) * share))

    wanted = {round(own * f, 3) for f in fractions(options.expand, (0.5, 2 / 3)) if own * f >= 1}
    return tuple(
        sorted(r for r in wanted if all(squeezed(r, w) <= squeezed(own, max(inputs)) for w in inputs) or r == own)
    )


def _json_block(args: BlockArgs, named: Named) -> BlockArgs:
    """Block arguments with the activation by name and final channels."""
    from timm.models._efficientnet_builder import round_channels

    channels = named.arguments.get("round_chs_fn", round_channels)
    block = args.copy()
    block["act_layer"], block["out_chs"] = _act_name(args["act_layer"], named), channels(args["out_chs"])
    if inputs := args.get("force_in_chs"):
        block["force_in_chs"] = channels(inputs)
    return block


def _act_name(layer: Any, named: Named) -> str | None:
    from timm.layers import get_act_layer

    if layer is None or isinstance(layer, str):
        return layer
    for name in ("relu", "relu6", "hard_swish", "swish", "mish", "gelu", "leaky_relu", "elu"):
        if get_act_layer(name) is layer:
            return name
    raise unsupported(named, f"its activation {layer} has no name in timm")
