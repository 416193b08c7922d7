"""Training losses of a pass."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def label_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of logits ``[n, classes]`` with label smoothing."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, no gradient to the teacher. Shapes ``[n, classes]``."""
    return F.cross_entropy(logits, teacher.detach().softmax(dim=1))
