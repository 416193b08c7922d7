"""The ViT family: elastic embedding, depth, and attention heads and MLP ratio per block.

Networks are timm's ``VisionTransformer`` and ``VisionTransformerDistilled`` (Dosovitskiy et al., arXiv:2010.11929;
Touvron et al., arXiv:2012.12877). What varies is what AutoFormer varies (Chen et al., arXiv:2107.00651): heads keep
their size whatever the embedding, so a smaller attention has fewer of the same heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.builders.timm_model import TimmFamily, TimmSpec
from search_spaces.errors import UsageError
from search_spaces.genes import Gene
from search_spaces.schema import Json
from search_spaces.space import Family, Segment

from .options import Named, Options, depths, fractions, gate, multiples, resolutions, unsupported


@dataclass(frozen=True)
class VitFamily(TimmFamily):
    """A vision transformer.

    Attributes:
        widths: choices of the embedding.
        heads: choices of a block's attention heads, of ``head_dim`` channels each.
        expands: choices of a block's MLP ratio: it has ``int(width * ratio)`` hidden units.
        pool: the tokens are pooled by an attention, whose heads keep their size as well.
        dynamic: any multiple of the patch size will do as resolution: the position embedding is the named model's, and
            timm resamples it where the image has another size. Otherwise only the named model's own resolution will.
        arguments: constructor arguments to replace in all architectures.
    """

    packed: ClassVar[Mapping[str, int]] = {
        "attn.qkv.weight": 3,
        "attn.qkv.bias": 3,
        "attn_pool.kv.weight": 2,
        "attn_pool.kv.bias": 2,
    }

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    expands: tuple[float, ...]
    head_dim: int
    pool: bool = False
    dynamic: bool = True
    arguments: tuple[tuple[str, Json], ...] = ()

    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions), Gene("width", self.widths), Gene("depth", self.depths)]
        for b in range(self.depths[-1]):
            there = gate("depth", b, self.depths)
            genes += [Gene(f"b{b}.heads", self.heads, there), Gene(f"b{b}.expand", self.expands, there)]
        return tuple(genes)

    def segments(self) -> tuple[Segment, ...]:
        segments = []
        for b in range(self.depths[-1]):
            genes = ("resolution", "width", f"b{b}.heads", f"b{b}.expand")
            segments.append(Segment(f"blocks.{b}", genes, gate("depth", b, self.depths)))
        return (*segments, Segment("", ("resolution", "width")))

    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        chosen = dict(architecture.genes)

        def choice(gene: str, choices: tuple[Choice, ...]) -> Choice:
            return chosen.get(gene, choices[-1])

        width, depth = int(choice("width", self.widths)), int(choice("depth", self.depths))
        heads = [int(choice(f"b{b}.heads", self.heads)) for b in range(depth)]
        ratios = [self.mlp_ratio(width, choice(f"b{b}.expand", self.expands)) for b in range(depth)]
        arguments = {**dict(self.arguments), "embed_dim": width, "depth": depth, "dynamic_img_size": self.dynamic}
        if self.pool:
            arguments["num_heads"] = width // self.head_dim
        entries = [{"num_heads": h, "mlp_ratio": r} for h, r in zip(heads, ratios, strict=True)]
        narrow = any(h * self.head_dim != width for h in heads)
        head_dim = self.head_dim if narrow else None
        return TimmSpec(self.model, interface, {}, arguments, {"block_fn": entries}, head_dim)

    def mlp_ratio(self, width: int, ratio: float) -> float:
        """The ratio to give to timm, which takes ``int(width * ratio)`` hidden units."""
        return ratio


@dataclass(frozen=True)
class GatedVitFamily(VitFamily):
    """A vision transformer whose MLPs have value and gate in the two halves of one layer (timm's ``GluMlp``)."""

    packed: ClassVar[Mapping[str, int]] = {
        **VitFamily.packed,
        "attn_pool.mlp.fc1.weight": 1,  # an ordinary MLP
        "attn_pool.mlp.fc1.bias": 1,
        "mlp.fc1.weight": 2,
        "mlp.fc1.bias": 2,
    }

    def mlp_ratio(self, width: int, ratio: float) -> float:
        """A ratio that gives an even number of hidden units."""
        hidden = int(width * ratio)
        return ratio if hidden % 2 == 0 else (hidden - 0.5) / width


def derive(named: Named, options: Options) -> Family:
    """The family around a named model. What its blocks cannot vary has a single choice. Raises UsageError where a
    resolution isn't a multiple of the patch size, and UserError where the model's images are not square."""
    from timm.layers import Attention, GluMlp, Mlp, SwiGLU
    from torch import nn

    model: Any = named.model
    block = model.blocks[0]
    attention = next((m for m in block.modules() if isinstance(m, Attention)), None)
    mlp = next((m for m in block.modules() if isinstance(m, Mlp | GluMlp | SwiGLU)), None)
    projected = isinstance(model.patch_embed.proj, nn.Conv2d)
    pool = model.global_pool == "map"
    width, heads, ratio = model.embed_dim, _argument(named, "num_heads"), _argument(named, "mlp_ratio")
    head_dim = width // heads
    # A narrower embedding needs heads that keep their size, in the attention and in the pooling after it.
    narrows = attention is not None and mlp is not None and projected and model.global_pool != "prr"
    high, wide = model.patch_embed.img_size
    if high != wide:
        raise unsupported(named, f"its images are not square ({high} x {wide})")
    sides = _resolutions(named, options)
    family = GatedVitFamily if isinstance(mlp, GluMlp) else VitFamily
    return family(
        model=named.name,
        resolutions=sides,
        widths=multiples(width, options.width, head_dim if pool else 8) if narrows else (width,),
        depths=depths(len(model.blocks), options, (0.5, 0.75, 1.0)),
        heads=_whole(heads, options.heads) if attention is not None else (heads,),
        expands=_ratios(width, ratio, options.expand) if mlp is not None else (ratio,),
        head_dim=head_dim,
        pool=pool,
        dynamic=all(side % _patch(named) == 0 for side in sides),
    )


def _argument(named: Named, name: str) -> Any:
    """A constructor argument of the model, the class's default where timm gives none."""
    import inspect

    from timm.models.vision_transformer import VisionTransformer

    default = inspect.signature(VisionTransformer).parameters[name].default
    return named.arguments.get(name, default)


def _whole(heads: int, given: tuple[float, ...]) -> tuple[int, ...]:
    """Whole numbers of heads, the smaller one where two are equally near."""
    return tuple(sorted({max(1, math.ceil(heads * f - 0.5)) for f in fractions(given, (0.75, 1.0))}))


def _ratios(width: int, ratio: float, given: tuple[float, ...]) -> tuple[float, ...]:
    """MLP ratios below the model's own and itself; at full width they give multiples of 8 hidden units.

    Rounded up to four digits, so that ``int(width * ratio)`` does not fall short by one.
    """
    full = int(width * ratio)
    smaller = multiples(full, given, default=(0.5, 0.75, 1.0))[:-1]
    return (*(math.ceil(hidden / width * 1e4 - 1e-6) / 1e4 for hidden in smaller), ratio)


def _resolutions(named: Named, options: Options) -> tuple[int, ...]:
    """Choices of the image side. The model's own need not be a multiple of the patch size if it is the only one."""
    own, patch = named.resolution, _patch(named)
    if own % patch and options.resolution in ((), (own,)):
        return (own,)
    sides = resolutions(named, options, patch)
    if wrong := [side for side in sides if side % patch]:
        near = max(patch, round(wrong[0] / patch) * patch)
        raise UsageError(
            f"{named.name} takes images in multiples of {patch} px (its patches), not {wrong[0]}: try {near}"
        )
    return sides


def _patch(named: Named) -> int:
    """Pixels between two tokens, those that a convolutional stem takes together included."""
    model: Any = named.model
    return int(model.patch_embed.feat_ratio())
