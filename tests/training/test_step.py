"""Passes of a step: micro-batches and resolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nas.supernet.supernet import Supernet
from nas.tasks.task import get_task
from nas.training.step import run_passes
from nas.training.strategies.base import Pass
from search_spaces.architecture import Interface
from tests.support.small_runs import (
    CONVNEXT,
    PLAIN,
    TINY,
    are_equal,
    gradients_of,
    random_batch,
)


def test_off_is_the_plain_step() -> None:
    """The default touches nothing: as bits, loss and gradients are those of a plain backward pass."""
    net, plain = Supernet(TINY, Interface(1, 3), seed=1), Supernet(TINY, Interface(1, 3), seed=1)
    batch = random_batch(6)
    (loss,) = run_passes(net, [Pass(TINY.largest)], batch, get_task(), PLAIN)
    plain.train()
    images = batch.images.contiguous(memory_format=torch.channels_last)
    expected = F.cross_entropy(plain(images, TINY.largest), batch.labels)
    expected.backward()
    assert loss == expected.item()
    assert are_equal(gradients_of(net), gradients_of(plain))


@pytest.mark.parametrize("count", [2, 3])
def test_micro_batches_average_to_the_whole_batch(count: int) -> None:
    """Without batch norm; 8 images in 3 are 2 + 3 + 3."""
    largest, smallest = CONVNEXT.largest, CONVNEXT.smallest
    passes = [Pass(largest, "teacher"), Pass(smallest, "student", 0.5), Pass(smallest, part=(1, 2))]
    batch, found = random_batch(8, 48, 3), []
    for accumulate in (1, count):
        net = Supernet(CONVNEXT, Interface(3, 3), seed=1)
        losses = run_passes(net, passes, batch, get_task(), PLAIN, accumulate=accumulate)
        found.append((losses, gradients_of(net)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-4, atol=1e-5)


def test_batch_norm_sees_micro_batches() -> None:
    """The running mean moves once a micro-batch, by a tenth, towards that micro-batch's own."""
    net = Supernet(TINY, Interface(1, 3), seed=1)
    batch = random_batch(8)
    run_passes(net, [Pass(TINY.largest)], batch, get_task(), PLAIN, accumulate=2)
    stem = Supernet(TINY, Interface(1, 3), seed=1).model.conv_stem
    expected = torch.zeros(stem.out_channels)
    for half in batch.images.split(4):
        expected = 0.9 * expected + 0.1 * stem(half).mean((0, 2, 3))
    torch.testing.assert_close(net.model.bn1.running_mean, expected, rtol=1e-4, atol=1e-6)


def test_micro_batches_hold_two_images_or_more() -> None:
    sizes: list[int] = []
    net = Supernet(TINY, Interface(1, 3))
    net.skeleton(TINY.largest).model.conv_stem.register_forward_hook(lambda m, a, out: sizes.append(len(out)))
    run_passes(net, [Pass(TINY.largest, part=(0, 2))], random_batch(10), get_task(), PLAIN, accumulate=5)
    assert sizes == [2, 3]


def test_passes_of_one_step_have_their_own_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sides = Supernet(TINY, Interface(1, 3)), []
    sizes = [a.resolution for a in (TINY.largest, TINY.smallest)]
    assert sizes[0] != sizes[1]
    real = net.forward

    def noting(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        sides.append(images.shape[-1])
        return real(images, *rest)

    monkeypatch.setattr(net, "forward", noting)
    passes = [Pass(TINY.largest, "teacher"), Pass(TINY.smallest, "student")]
    run_passes(net, passes, random_batch(4, sizes[0]), get_task(), PLAIN)
    assert sides == sizes
