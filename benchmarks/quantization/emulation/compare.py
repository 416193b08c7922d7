"""Outputs of the same file on two machines, compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """How two machines' logits of the same images differ.

    Attributes:
        images: how many.
        logits: of all of them.
        differing: logits whose bits differ.
        largest: largest difference, in logits.
        scale: largest magnitude on the host.
        top_changed: images whose best class is another one.
    """

    images: int
    logits: int
    differing: int
    largest: float
    scale: float
    top_changed: int

    @property
    def identical(self) -> bool:
        return self.differing == 0

    def __str__(self) -> str:
        if self.identical:
            return f"identical: {self.logits:,} logits of {self.images} images"
        return (
            f"{self.differing:,} of {self.logits:,} logits differ, by {self.largest:.2g} at most "
            f"(largest logit {self.scale:.3g}); best class of {self.top_changed} of {self.images} images changes"
        )


def compare(host: NDArray[np.float32], guest: NDArray[np.float32]) -> Comparison:
    """Compare logits ``[n, classes]``. Raises ValueError: other shapes."""
    if host.shape != guest.shape or host.ndim != 2:
        raise ValueError(f"logits {host.shape} here, {guest.shape} there")
    bits = host.view(np.uint32) != guest.view(np.uint32)
    distance = np.abs(host.astype(np.float64) - guest)
    return Comparison(
        images=len(host),
        logits=host.size,
        differing=int(bits.sum()),
        largest=float(np.where(bits, distance, 0.0).max(initial=0.0)),
        scale=float(np.abs(host).max(initial=0.0)),
        top_changed=int((host.argmax(1) != guest.argmax(1)).sum()),
    )
