"""Training augmentation that suits the size of the images, and the switches of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.store.records import DataInfo
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import unknown_name

from .dataset import SMALL_SIDE
from .transforms import Transform

AUGMENTS = ("auto", "none", "light", "strong")
RAND_AUGMENT = "rand-m8-mstd0.5-mmax9-inc1"
"""timm's notation; a magnitude of 10 would ask to posterize to 0 bits, which Pillow refuses."""
ERASE = 0.25

_TURNS = ("Rotate", "ShearX", "ShearY")
_MOVES = ("TranslateXRel", "TranslateYRel")


@dataclass(frozen=True)
class Parts:
    """The parts of an augmentation that may be done; each is an assumption about the images: such a change leaves the
    class what it is.

    Attributes:
        mirror: left and right change places.
        crop: a part of the image is cut out and enlarged, or a small image moves by some pixels.
        colour: brightness, contrast and saturation change; *strong* also inverts, posterizes and equalizes.
        rotate: *strong* turns images by up to 24 degrees, and shears them.
    """

    mirror: bool = True
    crop: bool = True
    colour: bool = True
    rotate: bool = True

    def allow(self, operation: str) -> bool:
        """Whether an operation of RandAugment, by timm's name, may be done."""
        if operation in _TURNS:
            return self.rotate
        return self.crop if operation in _MOVES else self.colour


EVERYTHING = Parts()


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


def describe_augment(augment: str, info: DataInfo, parts: Parts = EVERYTHING) -> str:
    """What is done to training images at random, in words; empty: nothing."""
    plan = plan_augment(augment, info)
    if plan == "none":
        return ""
    strong = augment == "strong"
    moved = "moved by some pixels" if info.native_size <= SMALL_SIDE else "cut out at random"
    done = {
        "mirrored half of the time": parts.mirror,
        moved: parts.crop,
        "changed in colour": parts.colour and plan == "image" and (strong or info.native_size > SMALL_SIDE),
        "turned and sheared": parts.rotate and strong,
    }
    return ", ".join(words for words, wanted in done.items() if wanted)


def shift_and_flip(pixels: Tensor, generator: torch.Generator, parts: Parts = EVERYTHING) -> Tensor:
    """Each image of uint8 ``[n, C, S, S]`` moved by up to S / 8 pixels (black comes in), flipped half of the time.
    Without a part of it the others are drawn as with it."""
    n, side = len(pixels), pixels.shape[-1]
    pad = max(1, side // 8)
    padded = torch.nn.functional.pad(pixels, (pad, pad, pad, pad))
    offsets = torch.randint(2 * pad + 1, (2, n, 1), generator=generator)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    if not parts.crop:
        offsets = torch.full_like(offsets, pad)
    if not parts.mirror:
        flip = torch.zeros_like(flip)
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


def image_transform(
    augment: str, info: DataInfo, size: int, erasing: float | None = None, parts: Parts = EVERYTHING
) -> Transform:
    """Random transform of one PIL image to normalised float32 ``[C, size, size]``, from timm and torchvision.

    Draws from the global generators of ``random``, numpy and torch. *strong* adds RandAugment
    (https://arxiv.org/abs/1909.13719) and random erasing (https://arxiv.org/abs/1708.04896), with probability 0.25
    where ``erasing`` says no other. Without ``parts.crop`` images are resized and cropped as for evaluation.
    """
    strong = augment == "strong"
    if erasing is None:
        erasing = ERASE if strong else 0.0
    if info.native_size <= SMALL_SIDE:
        return _small_transform(info, size, erasing, parts)
    chain: Any = timm.data.create_transform(
        input_size=(info.in_chans, size, size),
        is_training=True,
        scale=(0.08, 1.0) if strong else (0.25, 1.0),
        hflip=0.5 if parts.mirror else 0.0,
        color_jitter=(0.4 if strong else 0.2) if parts.colour else None,
        auto_augment=RAND_AUGMENT if strong else None,
        re_prob=erasing,
        re_mode="pixel",
        interpolation="random",
        mean=info.mean,
        std=info.std,
    )
    steps = chain.transforms
    if not parts.crop:
        upright: Any = timm.data.create_transform(
            (info.in_chans, size, size), interpolation=info.interpolation, crop_pct=info.crop_pct
        )
        steps = [*upright.transforms[:2], *steps[1:]]  # resize and centre crop for the random crop
    return _compose(steps, parts)


def _small_transform(info: DataInfo, size: int, erasing: float, parts: Parts) -> Transform:
    """*strong* for small images: nothing is zoomed away before RandAugment and erasing."""
    from timm.data.auto_augment import rand_augment_transform
    from torchvision import transforms

    fill = tuple(min(255, round(255 * m)) for m in info.mean)
    return _compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            *([transforms.RandomCrop(size, padding=max(1, size // 8))] if parts.crop else []),
            *([transforms.RandomHorizontalFlip()] if parts.mirror else []),
            rand_augment_transform(RAND_AUGMENT, {"translate_const": int(0.45 * size), "img_mean": fill}),
            transforms.ToTensor(),
            transforms.Normalize(torch.tensor(info.mean), torch.tensor(info.std)),
            erase(erasing),
        ],
        parts,
    )


def _compose(steps: list[Any], parts: Parts) -> Transform:
    """The steps one after the other; RandAugment draws among the operations that the parts allow."""
    from timm.data.auto_augment import RandAugment
    from torchvision import transforms

    kept = []
    for step in steps:
        if isinstance(step, RandAugment):
            step.ops = [operation for operation in step.ops if parts.allow(operation.name)]
            if not step.ops:
                continue
        kept.append(step)
    chain: Transform = transforms.Compose(kept)
    return chain
