"""Losses, gradients and weights that are not finite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.store.files import load_tensors
from nas.store.run import Run
from nas.training import loop as train
from nas.training.loop import Interrupted
from nas.training.step import check_finite, check_norm, check_weights
from nas.training.strategies.base import Pass
from search_spaces import get_space
from search_spaces.errors import UserError
from tests.support.small_runs import TWO_EVALUATIONS, lower_patience, train_run, warnings_in, watched_config
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")


@pytest.fixture
def photos(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run that is watched with little patience."""
    lower_patience(monkeypatch)
    return photos


def test_the_subnet_whose_loss_is_no_number_is_named() -> None:
    passes = (Pass(TINY.largest), Pass(TINY.smallest), Pass(TINY.largest))
    check_finite(passes, [0.0, 1e30, 2.0], 7)
    with pytest.raises(UserError) as error:
        check_finite(passes, [0.0, float("inf"), float("nan")], 7)
    text = str(error.value)
    assert text.startswith(f"the loss is inf at step 7, of subnet {TINY.smallest.id} {{")
    assert text.endswith("; the last good state is kept. Train again with another `out` and a lower `lr`")
    genes = json.dumps(dict(TINY.smallest.genes), separators=(",", ":"))
    shown = text.split(f"{TINY.smallest.id} ")[1].split(";")[0].removesuffix("...")
    assert genes.startswith(shown)
    assert len(text) < 350


def test_a_loss_that_is_no_number_leaves_the_checkpoint(
    photos: Path, tmp_path: Path, at_steps: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = Run(tmp_path / "run"), watched_config(photos, epochs=10.0)
    at_steps.append((4, interrupt))
    with pytest.raises(Interrupted):
        train_run(run, config, TWO_EVALUATIONS)
    before = run.checkpoint.read_bytes()
    real = train.run_passes
    steps = iter(range(5, 9))

    def broken(*arguments: Any) -> list[float]:
        losses = real(*arguments)
        return [float("nan")] * len(losses) if next(steps) == 7 else losses

    with monkeypatch.context() as patch:
        patch.setattr(train, "run_passes", broken)
        with pytest.raises(UserError, match="the loss is nan at step 7, of subnet "):
            train_run(run, config, TWO_EVALUATIONS)
    assert run.checkpoint.read_bytes() == before
    assert warnings_in(train_run(run, config, TWO_EVALUATIONS)) == []


def test_a_run_that_diverges_keeps_a_checkpoint_of_numbers(photos: Path, tmp_path: Path) -> None:
    """At this rate gradients are no numbers while the loss still is: checked after the loss alone, it was too late."""
    run, config = Run(tmp_path / "run"), watched_config(photos, lr=1e9)
    for _ in range(2):  # the second goes on from what the first has left, and meets the same
        with pytest.raises(UserError, match=r"at step \d+, of subnet .*; the last good state is kept"):
            train_run(run, config, replace(TWO_EVALUATIONS, save_seconds=0))
        tensors = [t for p in (run.checkpoint, run.good) for t in load_tensors(p)[0].values()]
        assert tensors
        assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_and_weights_that_are_no_numbers(bad: float) -> None:
    one, more = (Pass(TINY.largest),), (Pass(TINY.largest), Pass(TINY.smallest))
    check_norm(one, 1e30, 3)
    with pytest.raises(UserError, match=rf"the norm of the gradients is {bad} at step 3, of subnet {TINY.largest.id} "):
        check_norm(one, bad, 3)
    with pytest.raises(UserError, match=f"of subnets {TINY.largest.id}, {TINY.smallest.id}; the last good"):
        check_norm(more, bad, 3)
    check_weights([torch.zeros(3), torch.arange(3)], 4)
    with pytest.raises(UserError, match="not finite after step 4; the last good"):
        check_weights([torch.zeros(3), torch.tensor([0.0, bad])], 4)
