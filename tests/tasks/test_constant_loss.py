"""The loss of the best answer that is the same for every image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from search_spaces import get_space

TINY = get_space("mbv3-tiny")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_constant_answers_loss(smoothing: float) -> None:
    """The best constant logits are the logarithms of the label's shares; no other ones are better."""
    labels = np.array([0] * 7 + [1] * 2 + [3])
    expected = get_task().constant_loss(labels, 4, Loss(smoothing=smoothing), taught=False)
    logits = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits.expand(10, 4), torch.from_numpy(labels), label_smoothing=smoothing)
        value.backward()
        return value

    optimizer.step(loss)
    assert loss().item() == pytest.approx(expected, abs=1e-3)


def test_with_a_fixed_teacher_the_constant_answer_is_judged_by_it_too() -> None:
    loss = Loss(teacher_weight=0.3, temperature=2.0)
    labels = torch.arange(4)
    found = get_task().loss(torch.zeros(4, 4), labels, torch.full((4, 4), 0.25), loss).item()
    assert get_task().constant_loss(labels.numpy(), 4, loss, taught=True) == pytest.approx(found)
