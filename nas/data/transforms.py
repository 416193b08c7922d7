"""Pixels to tensors: timm's evaluation transform, and training augmentation that suits the size of the images."""

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
from search_spaces.errors import unknown_name

from .dataset import SMALL_SIDE
from .preparation import resize_and_crop

AUGMENTS = ("auto", "none", "light", "strong")
RAND_AUGMENT = "rand-m8-mstd0.5-mmax9-inc1"
"""timm's notation; a magnitude of 10 would ask to posterize to 0 bits, which Pillow refuses."""
ERASE = 0.25

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


def plan_augment(augment: str, info: DataInfo) -> str:
    """What a choice of :data:`AUGMENTS` means for these images.

    ``none``; ``shift`` for *light* (and *auto*) on images up to 40 pixels: pad, crop, flip, as for CIFAR in
    https://arxiv.org/abs/1512.03385; else ``image``, a transform of the single PIL image.
    """
    if augment not in AUGMENTS:
        raise unknown_name("augmentation", augment, AUGMENTS)
    if augment == "none":
        return "none"
    return "shift" if augment != "strong" and info.native_size <= SMALL_SIDE else "image"


def shift_and_flip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image of uint8 ``[n, C, S, S]`` moved by up to S / 8 pixels (black comes in), flipped half of the time."""
    n, side = len(pixels), pixels.shape[-1]
    pad = max(1, side // 8)
    padded = torch.nn.functional.pad(pixels, (pad, pad, pad, pad))
    offsets = torch.randint(2 * pad + 1, (2, n, 1), generator=generator)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    line = torch.arange(side).expand(n, side)
    rows = offsets[0] + line
    columns = offsets[1] + torch.where(flip, line.flip(1), line)
    number = torch.arange(n).view(n, 1, 1)
    # channels last in the index result: the slice stands between the advanced indices
    return padded[number, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def erase(probability: float) -> Callable[[Tensor], Tensor]:
    """Replace a box of a normalised image ``[C, H, W]``, or of each of ``[n, C, H, W]``, by noise, with that
    probability (https://arxiv.org/abs/1708.04896). Draws from the global generators of ``random`` and torch."""
    from timm.data.random_erasing import RandomErasing

    found: Callable[[Tensor], Tensor] = RandomErasing(probability, mode="pixel", device="cpu")
    return found


def image_transform(augment: str, info: DataInfo, size: int, erasing: float | None = None) -> Transform:
    """Random transform of one PIL image to normalised float32 ``[C, size, size]``, from timm and torchvision.

    Draws from the global generators of ``random``, numpy and torch. *strong* adds RandAugment
    (https://arxiv.org/abs/1909.13719) and random erasing (https://arxiv.org/abs/1708.04896), with probability 0.25
    where ``erasing`` says no other.
    """
    strong = augment == "strong"
    if erasing is None:
        erasing = ERASE if strong else 0.0
    if info.native_size <= SMALL_SIDE:
        return _small_transform(info, size, erasing)
    transform: Transform = timm.data.create_transform(
        input_size=(info.in_chans, size, size),
        is_training=True,
        scale=(0.08, 1.0) if strong else (0.25, 1.0),
        color_jitter=0.4 if strong else 0.2,
        auto_augment=RAND_AUGMENT if strong else None,
        re_prob=erasing,
        re_mode="pixel",
        interpolation="random",
        mean=info.mean,
        std=info.std,
    )
    return transform


def _small_transform(info: DataInfo, size: int, erasing: float) -> Transform:
    """*strong* for small images: nothing is zoomed away before RandAugment and erasing."""
    from timm.data.auto_augment import rand_augment_transform
    from torchvision import transforms

    fill = tuple(min(255, round(255 * m)) for m in info.mean)
    chain: Transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.RandomCrop(size, padding=max(1, size // 8)),
            transforms.RandomHorizontalFlip(),
            rand_augment_transform(RAND_AUGMENT, {"translate_const": int(0.45 * size), "img_mean": fill}),
            transforms.ToTensor(),
            transforms.Normalize(torch.tensor(info.mean), torch.tensor(info.std)),
            erase(erasing),
        ]
    )
    return chain


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
