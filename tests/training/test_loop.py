"""A run that is stopped and continued is the run that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.store.run import Run
from tests.support.small_runs import (
    are_equal,
    short_config,
    stop_at,
    train_run,
    weights_of,
)
from tests.support.stopping import Acts


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"amp": "bf16", "augment": "none"}, marks=pytest.mark.long),
        {"strategy": "sandwich", "accumulate": 2, "mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "augment": "light"},
        {"base_batch": 16, "cutmix": 1.0, "augment": "strong", "erasing": 0.0, "ema": 0.9},
    ],
    ids=["bf16", "mixed micro-batches", "scaled"],
)
def test_stopped_or_not_is_the_same(photos: Path, tmp_path: Path, at_steps: Acts, more: dict[str, Any]) -> None:
    config = short_config(photos, **more)
    straight, stopped, plain = (Run(tmp_path / name) for name in ("straight", "stopped", "plain"))
    train_run(straight, config)
    stop_at(2, stopped, config, at_steps)
    train_run(stopped, config)
    assert are_equal(weights_of(stopped), weights_of(straight))
    train_run(plain, short_config(photos, strategy=config.strategy, augment=config.augment, ema=config.ema))
    assert not are_equal(weights_of(plain), weights_of(straight))  # the settings do something
