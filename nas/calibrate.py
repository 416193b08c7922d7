"""Batch-norm statistics of one subnet.

A subnet's shared statistics are a mixture over all subnets that trained with them; using them as they are costs tens
of points. One plain pass over a few hundred training images gives the subnet its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

CALIBRATION_IMAGES = 256


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor, batch_size: int = 64) -> None:
    """Replace the running statistics by the mean over ``images`` [n, c, h, w]; leaves the model in eval mode."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    model.eval()
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    for batch in images.split(batch_size):
        model(batch)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()
