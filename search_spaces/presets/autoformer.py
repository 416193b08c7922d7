"""Spaces of AutoFormer (Chen et al., arXiv:2107.00651), on timm's DeiT.

As published: one embedding width, heads of 64 channels whatever the width, and per block the heads and the MLP ratio;
patches of 16 px, 224 px images, the mean over the patch tokens as features. Not as published: AutoFormer's relative
position embedding in every attention has no counterpart in timm's ``VisionTransformer``, which adds position
embeddings to the patches only (AutoFormer has these, too). So weights of AutoFormer do not fit.
"""

from __future__ import annotations

from search_spaces.families.vit import VitFamily
from search_spaces.space import SearchSpace


def _space(
    size: str, widths: tuple[int, ...], depths: tuple[int, ...], heads: tuple[int, ...], ratios: tuple[float, ...]
) -> SearchSpace:
    family = VitFamily(
        model=f"deit_{size}_patch16_224",
        resolutions=(224,),
        widths=widths,
        depths=depths,
        heads=heads,
        expands=ratios,
        head_dim=64,
        arguments=(("global_pool", "avg"), ("fc_norm", False)),
    )
    return SearchSpace(
        f"autoformer-{size}", family, "AutoFormer (arXiv:2107.00651), but for its relative position embedding"
    )


SPACES: tuple[SearchSpace, ...] = (
    _space("tiny", (192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4)),
    _space("small", (320, 384, 448), (12, 13, 14), (5, 6, 7), (3, 3.5, 4)),
    _space("base", (528, 576, 624), (14, 15, 16), (9, 10), (3, 3.5, 4)),
)
