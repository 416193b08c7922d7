"""Mixup and CutMix of a whole batch, from timm, as a function of (seed, step).

Two images become one: their weighted mean (Zhang et al., arXiv:1710.09412), or one with a box of the other (Yun et al.,
arXiv:1905.04899). What is known of an image (its label, a fixed teacher's probabilities) is mixed in the same shares.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nas.store.seeds import sequence
from search_spaces.builders.timm_compat import timm

from .batches import own_randomness


def mix(images: Tensor, targets: list[Tensor], mixup: float, cutmix: float, seed: int, step: int) -> list[Tensor]:
    """Mix image i with image n - 1 - i, the same shares for the whole batch.

    Args:
        images: ``[n, C, H, W]``, n even; overwritten.
        targets: of each image, ``[n, classes]`` each.
        mixup, cutmix: parameters alpha of the shares' distribution Beta(alpha, alpha), 0: without. With both, a step
            does either, half of the time each.
        seed, step: the choice depends on these alone.

    Returns:
        The targets, mixed.
    """
    n = len(images)
    # timm mixes labels only; two classes, one a half of the batch, make the label the share of the own image
    half = torch.arange(n, device=images.device) * 2 // n
    mixer = timm.data.Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=0.0, num_classes=2)
    with own_randomness():  # timm draws from numpy's global generator
        np.random.seed(sequence(seed, "train.mix", step).generate_state(4))
        _, shares = mixer(images, half)
    own = shares[0, 0]
    return [target * own + target.flip(0) * (1 - own) for target in targets]
