"""Forward and backward of one training step: all passes of the strategy on one batch, gradients added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.architecture import Architecture

from .losses import label_loss, soft_loss
from .strategies import Pass
from .supernet import Supernet


@dataclass(frozen=True)
class Batch:
    """Images of one step at the largest resolution, on the device.

    Attributes:
        images: ``[n, C, H, W]``.
        labels: class numbers ``[n]``.
    """

    images: Tensor
    labels: Tensor

    def part(self, i: int, n: int) -> Batch:
        """The i-th of ``n`` parts of (nearly) equal size."""
        if n == 1:
            return self
        bounds = slice(i * len(self.labels) // n, (i + 1) * len(self.labels) // n)
        return Batch(self.images[bounds], self.labels[bounds])


def run_passes(net: Supernet, passes: Sequence[Pass], batch: Batch, smoothing: float) -> list[float]:
    """Forward and backward of all passes; gradients add up, weighted. Returns each pass's loss, unweighted."""
    net.train()
    losses = []
    teacher: Tensor | None = None
    for one in passes:
        part = batch.part(*one.part)
        logits = net(resize(part.images, one.architecture.resolution), one.architecture)
        if one.role == "student":
            assert teacher is not None
            loss = soft_loss(logits, teacher)
        else:
            loss = label_loss(logits, part.labels, smoothing)
            teacher = logits.detach() if one.role == "teacher" else teacher
        (loss if one.weight == 1 else loss * one.weight).backward()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def loss_without_gradient(net: Supernet, batch: Batch, smoothing: float, architecture: Architecture) -> float:
    """Loss of a subnet on the batch's labels in training mode, the running statistics left as they were."""
    statistics = {name: tensor.clone() for name, tensor in net.model.named_buffers()}
    net.train()
    loss = label_loss(net(resize(batch.images, architecture.resolution), architecture), batch.labels, smoothing).item()
    for name, tensor in net.model.named_buffers():
        tensor.copy_(statistics[name])
    return loss


def resize(images: Tensor, size: int) -> Tensor:
    """Square images of side ``size``, channels last in memory."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)
