"""Mixup, CutMix and random erasing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.data.transforms import mix
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training.step import mix_batch
from tests.conftest import PhotoFolder
from tests.support.small_runs import (
    random_batch,
)


def test_mixup_is_a_weighted_mean_of_two_images_and_of_what_is_known_of_them() -> None:
    batch = replace(random_batch(6), teacher=torch.rand(6, 3).softmax(1))
    before = batch.images.clone()
    shares = []
    for step in range(8):
        assert batch.teacher is not None
        out = mix_batch(replace(batch, images=before.clone()), get_task(), 3, 0.8, 0.0, 5, step)
        labels = get_task().blendable(batch.labels, 3)
        i, j = next((i, 5 - i) for i in range(3) if batch.labels[i] != batch.labels[5 - i])
        share = out.labels[i, batch.labels[i]].item()
        torch.testing.assert_close(out.images, share * before + (1 - share) * before.flip(0))
        torch.testing.assert_close(out.labels, share * labels + (1 - share) * labels.flip(0))
        assert out.teacher is not None
        torch.testing.assert_close(out.teacher[j], share * batch.teacher[j] + (1 - share) * batch.teacher[i])
        again = mix_batch(replace(batch, images=before.clone()), get_task(), 3, 0.8, 0.0, 5, step)
        assert torch.equal(again.images, out.images)
        shares.append(share)
    assert len(set(shares)) == 8
    assert all(0 < share < 1 for share in shares)


@pytest.mark.parametrize("side", [28, 96])
def test_cutmix_labels_are_the_shares_of_area(side: int) -> None:
    before = random_batch(4, side).images
    labels = torch.eye(4)
    areas = []
    for step in range(10):
        images = before.clone()
        (out,) = mix(images, [labels], 0.0, 1.0, 1, step)
        own = (images[0] == before[0]).float().mean().item()
        assert torch.equal(images[0], before[0].where(images[0] == before[0], before[3]))
        torch.testing.assert_close(out[0], torch.tensor([own, 0, 0, 1 - own]), rtol=1e-4, atol=1e-4)
        areas.append(own)
    assert np.ptp(areas) > 0.3


def test_both_mixings_take_turns_and_leave_the_global_generator_alone() -> None:
    np.random.seed(3)
    before, state = random_batch(4).images, np.random.get_state()[1].copy()
    pasted = []
    for step in range(40):
        images = before.clone()
        mix(images, [torch.eye(4)], 0.8, 1.0, 0, step)
        pasted.append(bool((images == before).any() or (images == before.flip(0)).any()))
    assert 8 < sum(pasted) < 32
    assert np.array_equal(np.random.get_state()[1], state)


def test_smoothed_soft_labels_are_smoothed_labels() -> None:
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 2, 1, 1])
    soft, hard = (
        get_task().loss(logits, y, None, Loss(smoothing=0.1)) for y in (get_task().blendable(labels, 4), labels)
    )
    assert soft.item() == pytest.approx(hard.item(), rel=1e-5)


@pytest.mark.parametrize("augment", ["none", "light"])
@pytest.mark.parametrize("side", [28, 64])
def test_erasing_replaces_boxes_of_a_share_of_images(photo_folder: PhotoFolder, augment: str, side: int) -> None:
    source = photo_folder({"apple": 60, "pear": 60}, size=(side, side))
    dataset = open_dataset(str(source))
    random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state()

    def images(erasing: float | None) -> torch.Tensor:
        steps = train_batches(dataset, 40, 0, 0, 2, side, augment, 0, False, erasing)
        return torch.cat([batch for batch, _ in steps])

    plain, none, half, all_of_them = (images(p) for p in (None, 0.0, 0.5, 1.0))
    assert torch.equal(plain, none)
    assert torch.equal(half, images(0.5))
    if augment == "none":  # else the transforms of one image draw from the same generator
        changed = ((half != plain).flatten(1).float().mean(1), (all_of_them != plain).flatten(1).float().mean(1))
        assert 0.3 < (changed[0] > 0).float().mean() < 0.7
        assert (changed[1] > 0).all()
        assert changed[1].max() < 0.45  # a third of the area at most, rounded
        assert changed[1].min() > 0.01
    assert not torch.equal(half, plain)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_erasing_of_strong_can_be_switched_off(photos: Path) -> None:
    dataset = open_dataset(str(photos))

    def chain(erasing: float | None) -> list[Any]:
        return data_erasers(dataset, erasing)

    assert [e.probability for e in chain(None)] == [0.25]
    assert [e.probability for e in chain(0.0)] == [0.0]
    assert [e.probability for e in chain(0.7)] == [0.7]


def data_erasers(dataset: Dataset, erasing: float | None) -> list[Any]:
    """Random erasing among the transforms of ``strong``."""
    from timm.data.random_erasing import RandomErasing

    from nas.data.batches import TrainSteps

    steps: Any = TrainSteps(dataset, 4, 0, 28, "strong", erasing)
    return [t for t in steps.transform.transforms if isinstance(t, RandomErasing)]
