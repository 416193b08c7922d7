"""Spaces of the MobileNetV3 family."""

from __future__ import annotations

from ..mobilenetv3 import MobileNetV3Family, Stage
from ..space import SearchSpace

_KERNELS = (3, 5, 7)

TINY = SearchSpace(
    "mbv3-tiny",
    MobileNetV3Family(
        resolutions=(24, 28),
        stem=8,
        first_stride=2,
        stages=(
            Stage((16, 24), (1, 2), (3, 5), (2, 3, 4), stride=1, act="re"),
            Stage((24, 32), (1, 2), (3, 5), (2, 3, 4), stride=2, se=0.25, act="re"),
            # no width of the stage before: a first block with equal widths would gain a residual connection
            Stage((40, 56), (1, 2), (3, 5), (2, 3, 4), stride=1, se=0.25),
        ),
        last=128,
        features=160,
    ),
    source="made for the demo: small images, two cores",
)

SMALL = SearchSpace(
    "mbv3-small",
    MobileNetV3Family(
        resolutions=(48, 56, 64, 80, 96),
        stem=16,
        first_stride=1,
        stages=(
            Stage((16, 24), (1, 2), (3, 5), (2, 3, 4), stride=2, act="re"),
            Stage((24, 32, 40), (1, 2, 3), (3, 5), (2, 3, 4), stride=2, se=0.25, act="re"),
            Stage((48, 64), (1, 2, 3), (3, 5), (3, 4, 6), stride=1),
            Stage((72, 96), (1, 2), (3, 5), (3, 4, 6), stride=2, se=0.25),
        ),
        last=288,
        features=512,
    ),
    source="made for photos of 48 to 96 pixels",
)

# Stem, strides, squeeze-and-excitation, activations and head as MobileNetV3-Large 1.0; depth, kernel and expansion
# as the Once-for-All MobileNetV3 space (Cai et al., arXiv:1908.09791); stage widths 0.75x and 1.0x are our addition.
LARGE = SearchSpace(
    "mbv3-large",
    MobileNetV3Family(
        resolutions=(128, 160, 192, 224),
        stem=16,
        first_stride=1,
        stages=(
            Stage((16, 24), (2, 3, 4), _KERNELS, (3, 4, 6), stride=2, act="re"),
            Stage((32, 40), (2, 3, 4), _KERNELS, (3, 4, 6), stride=2, se=0.25, act="re"),
            Stage((64, 80), (2, 3, 4), _KERNELS, (3, 4, 6), stride=2),
            Stage((88, 112), (2, 3, 4), _KERNELS, (3, 4, 6), stride=1, se=0.25),
            Stage((120, 160), (2, 3, 4), _KERNELS, (3, 4, 6), stride=2, se=0.25),
        ),
        last=960,
        features=1280,
    ),
    source="MobileNetV3-Large with the elastic dimensions of Once-for-All (arXiv:1908.09791) and two widths a stage",
)

SPACES = (TINY, SMALL, LARGE)
