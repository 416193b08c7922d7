"""Accuracy with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """Correct answers out of a number of images."""

    correct: int
    images: int

    @property
    def value(self) -> float:
        """Share of correct answers."""
        return self.correct / self.images

    @property
    def standard_error(self) -> float:
        """Of the share, binomial, with one success and one failure added so that it is never 0."""
        p = (self.correct + 1) / (self.images + 2)
        return math.sqrt(p * (1 - p) / self.images)

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson's score interval (95 % by default)."""
        n, p = self.images, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


@torch.no_grad()
def accuracy(
    model: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], device: str | torch.device = "cpu"
) -> Accuracy:
    """Top-1 accuracy of ``model`` over batches of normalised images [n, c, h, w] with labels [n]."""
    correct = seen = 0
    for images, labels in batches:
        logits = model(images.to(device, memory_format=torch.channels_last))
        correct += int((logits.argmax(1).cpu() == labels).sum())
        seen += len(labels)
    return Accuracy(correct, seen)
