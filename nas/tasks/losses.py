"""Settings of a training loss, and losses that tasks share."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

ALPHAS = (-1.0, 1.0)
RATIO_LIMIT = 5.0


@dataclass(frozen=True)
class Loss:
    """What the passes of a run learn from, and how the largest subnet is regularised; a task makes the loss of it.

    Attributes:
        smoothing: share of a label's mass that is spread over all classes, from 0 to 1.
        distill: what students learn from the step's own teacher: ``soft`` or ``alpha``.
        teacher_weight: share of a fixed teacher in the loss of passes that learn from labels; the rest is the labels'.
        temperature: of the softmax of the fixed teacher, and of the output that learns from it.
        drop: probability of dropout before the classifier and of stochastic depth in the last block, for the largest
            subnet alone: smaller ones underfit already (BigNAS, arXiv:2003.11142).
    """

    smoothing: float = 0.0
    distill: str = "soft"
    teacher_weight: float = 0.5
    temperature: float = 1.0
    drop: tuple[float, float] = (0.0, 0.0)


def soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, no gradient to the teacher. Shapes ``[n, classes]``."""
    return F.cross_entropy(logits, teacher.detach().softmax(dim=1))


def teacher_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy against probabilities of a teacher at a temperature T (Hinton et al., arXiv:1503.02531).

    Times T^2, which keeps gradients as large as those of the labels. Shapes ``[n, classes]``.
    """
    return temperature**2 * F.cross_entropy(logits / temperature, teacher)


def alpha_loss(
    logits: Tensor, teacher: Tensor, alphas: tuple[float, float] = ALPHAS, limit: float = RATIO_LIMIT
) -> Tensor:
    """Adaptive alpha-divergence (AlphaNet, arXiv:2102.07954): the mean over images of the larger of two divergences.

    The negative alpha is the larger where the student gives mass to what the teacher rules out (it doubts too much),
    the positive one where it lacks mass on what the teacher allows (it is too sure). No gradient reaches the teacher.
    Shapes ``[n, classes]``; an alpha is not 0.
    """
    low, high = (_divergence(logits, teacher.detach(), alpha, limit) for alpha in alphas)
    value = low[0].maximum(high[0])
    path = low[1].where(low[0] > high[0], high[1])
    # The value is the divergence, the gradient the paper's estimator of it.
    return (path + (value - path).detach()).mean()


def _divergence(logits: Tensor, teacher: Tensor, alpha: float, limit: float) -> tuple[Tensor, Tensor]:
    """Divergence D(teacher p || student q) of each image, ``[n]``, and a term whose gradient is its estimated one.

    D = sum q ((p / q)^alpha - 1) / (alpha (alpha - 1)); for alpha = 1 its limit, the Kullback-Leibler divergence. Its
    gradient is - sum q (p / q)^alpha / alpha * grad log q (the paper's proposition 1, with f'(t) t - f(t) for f; its
    constant is left out: q * grad log q sums to 0). The weights before grad log q are constants, and (p / q)^alpha is
    limited in both, which bounds what a class of the teacher's smallest probabilities can do. At alpha = 1 the weight
    is p itself and needs no limit.
    """
    log_q, log_p = logits.log_softmax(dim=1), teacher.log_softmax(dim=1)
    q, log_ratio = log_q.detach().exp(), log_p - log_q.detach()
    if alpha == 1:
        p = log_p.exp()
        return (p * log_ratio).sum(dim=1), -(p * log_q).sum(dim=1)
    power = (alpha * log_ratio).exp().clamp(max=limit)
    value = (q * (power - 1)).sum(dim=1) / (alpha * (alpha - 1))
    return value, -(q * power * log_q).sum(dim=1) / alpha
