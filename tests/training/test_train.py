"""The training loop against closed forms and a hand-written step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss, soft_loss
from nas.tasks.task import get_task
from nas.training.builders import make_schedule
from nas.training.config import TrainConfig, total_steps
from nas.training.step import StepInput, run_passes
from nas.training.strategies.base import RunFacts, Strategy
from nas.training.strategies.table import get_strategy
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError

TINY = get_space("mbv3-tiny")


def test_learning_rate_warms_up_then_follows_a_cosine() -> None:
    config = TrainConfig(lr=0.4, warmup=0.1)
    optimizer = timm.optim.create_optimizer_v2(torch.nn.Linear(1, 1), opt="nesterov", lr=config.lr)
    schedule = make_schedule(config, optimizer, 200)
    rates = []
    for step in range(200):
        schedule.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.4 / 20)
    np.testing.assert_allclose(np.diff(rates[:20]), rates[1] - rates[0], rtol=1e-6)
    for step in range(20, 200):
        cosine = 0.004 + 0.396 * 0.5 * (1 + math.cos(math.pi * step / 200))
        assert rates[step] == pytest.approx(cosine)
    schedule.step_update(57)
    assert optimizer.param_groups[0]["lr"] == rates[57]  # a function of the step alone


def strategy_of(name: str) -> Strategy:
    return get_strategy(name, RunFacts(TINY, 100, Interface(1, 3), 0, lambda: Supernet(TINY, Interface(1, 3))))


def no_loss(architecture: Architecture) -> float:
    raise AssertionError("this strategy needs no losses")


def test_soft_loss_is_cross_entropy_with_the_teachers_probabilities() -> None:
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = -(teacher.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    assert soft_loss(logits, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    teacher.requires_grad_(True)
    soft_loss(logits.requires_grad_(True), teacher).backward()
    assert teacher.grad is None


def test_gradients_of_a_sandwich_step_add_up() -> None:
    """One step of the loop equals the passes done by hand on extracted subnets."""
    net = Supernet(TINY, Interface(1, 3), seed=2)
    passes = strategy_of("sandwich").passes(0, np.random.default_rng(1), no_loss)
    images, labels = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 2, 0])
    by_hand = {n: torch.zeros_like(p) for n, p in net.model.named_parameters()}
    teacher = None
    for one in passes:
        subnet = net.extract(one.architecture).train()
        size = one.architecture.resolution
        x = images if size == 28 else F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        logits = subnet(x)
        if teacher is None:
            loss, teacher = F.cross_entropy(logits, labels, label_smoothing=0.1), logits.detach()
        else:
            loss = F.cross_entropy(logits, teacher.softmax(1))
        loss.backward()
        for name, parameter in subnet.named_parameters():
            full = by_hand[name]
            index = [slice(0, s) for s in parameter.shape]
            if parameter.ndim == 4:
                for d in (2, 3):
                    start = (full.shape[d] - parameter.shape[d]) // 2
                    index[d] = slice(start, start + parameter.shape[d])
            assert parameter.grad is not None
            full[tuple(index)] += parameter.grad
    run_passes(net, passes, StepInput(images, labels), get_task(), Loss(0.1))
    for name, parameter in net.model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, by_hand[name], rtol=1e-4, atol=1e-6)


def test_steps_of_a_run() -> None:
    assert total_steps(TrainConfig(epochs=2, batch_size=10), 105) == 20
    assert total_steps(TrainConfig(epochs=0.01, batch_size=10), 15) == 1
    assert total_steps(TrainConfig(epochs=10**8, batch_size=10), 105) == 10**9
    for epochs in (10**8 + 1, 1e18, 1e308):
        with pytest.raises(UsageError, match=r"`epochs` is \S+, which makes \S+ steps; .*give fewer"):
            total_steps(TrainConfig(epochs=epochs, batch_size=10), 105)
