"""Pixels to tensors: timm's evaluation transform, normalisation, and the mixing of whole images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.store.records import DataInfo
from nas.store.seeds import sequence
from search_spaces.builders.timm_compat import timm

from .preparation import resize_and_crop

Transform = Callable[[Image.Image], Tensor]


def eval_transform(info: DataInfo, resolution: int) -> Transform:
    """timm's evaluation transform without normalisation: resize, centre crop; a PIL image to uint8 ``[C, R, R]``."""

    def transform(image: Image.Image) -> Tensor:
        return torch.from_numpy(resize_and_crop(image, resolution, info.crop_pct, info.interpolation))

    return transform


def normalise(pixels: Tensor, info: DataInfo) -> Tensor:
    """uint8 ``[n, C, H, W]`` to float32 ``(x / 255 - mean) / std``, in timm's own order of operations."""
    mean = torch.tensor(info.mean).view(-1, 1, 1)
    std = torch.tensor(info.std).view(-1, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Put the global generators of random, numpy and torch (CPU) back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def mix(images: Tensor, targets: list[Tensor], mixup: float, cutmix: float, seed: int, step: int) -> list[Tensor]:
    """Mixup and CutMix by timm: image i with image n - 1 - i, the same shares for the whole batch.

    Two images become one: their weighted mean (Zhang et al., arXiv:1710.09412), or one with a box of the other (Yun et
    al., arXiv:1905.04899). What is known of an image (label, a fixed teacher's probabilities) is mixed in these shares.

    Args:
        images: ``[n, C, H, W]``, n even; overwritten.
        targets: of each image, ``[n, classes]`` each; they are returned mixed.
        mixup, cutmix: parameters alpha of the shares' distribution Beta(alpha, alpha), 0: without. With both, a step
            does either, half of the time each.
        seed, step: the choice depends on these alone.
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
