"""Spaces of the ResNet family."""

from __future__ import annotations

from search_spaces.families.resnet import ResNetFamily, Stage
from search_spaces.space import SearchSpace

_EXPANDS = (0.2, 0.25, 0.35)

# The published stem has a residual second convolution that can be left out, and the widths before and after it are
# chosen apart (3 x 3); timm's deep stem has one width for all, which is a gene here. At 224 px the largest has the
# published 7,492 M MACs, the smallest 988 M instead of 962 M: the stem is all of the difference.
OFA = SearchSpace(
    "ofa-resnet50",
    ResNetFamily(
        model="resnet50d",
        resolutions=tuple(range(128, 225, 4)),
        stages=(
            Stage((42, 52, 64), (2, 3, 4), _EXPANDS),  # outputs: 256 times .65, .8 and 1, to a multiple of 8
            Stage((84, 102, 128), (2, 3, 4), _EXPANDS),
            Stage((166, 204, 256), (4, 5, 6), _EXPANDS),
            Stage((332, 410, 512), (2, 3, 4), _EXPANDS),
        ),
        stems=(20, 24, 32),
    ),
    source="Once-for-All ResNet50D (arXiv:1908.09791), but for the stem: one width, no residual",
)

SPACES: tuple[SearchSpace, ...] = (OFA,)
