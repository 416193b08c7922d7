"""Mixed precision of a step against plain arithmetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.task import get_task
from nas.training import checkpoint
from nas.training.amp import Amp, check_amp
from nas.training.step import run_passes, update
from nas.training.strategies.base import Pass
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from tests.support.small_runs import (
    PLAIN,
    TINY,
    gradients_of,
    random_batch,
)


def test_bf16_computes_in_bf16_and_is_close_to_fp32() -> None:
    seen: list[torch.dtype] = []
    found = {}
    for amp in ("off", "bf16"):
        net = Supernet(TINY, Interface(1, 3), seed=1)
        net.skeleton(TINY.largest).model.conv_stem.register_forward_hook(lambda m, a, out: seen.append(out.dtype))
        (loss,) = run_passes(net, [Pass(TINY.largest)], random_batch(8), get_task(), PLAIN, Amp(amp))
        found[amp] = loss, gradients_of(net)
    assert seen == [torch.float32, torch.bfloat16]
    assert found["bf16"][0] == pytest.approx(found["off"][0], rel=0.02)
    assert found["bf16"][0] != found["off"][0]
    full, half = (torch.cat([g.flatten() for g in found[amp][1].values()]) for amp in ("off", "bf16"))
    assert half.dtype == torch.float32
    assert F.cosine_similarity(full, half, dim=0) > 0.95


class OneWeight(nn.Module):
    """Stands for a supernet with a single weight."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)


def test_scaled_gradients_are_unscaled_before_they_are_clipped() -> None:
    """The loss scaling of fp16 (which exists on a CPU too) leaves no trace in a step, and skips an overflow."""
    net: Any = OneWeight()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    precision = Amp("fp16", "cpu")
    before = net.model.weight.item()
    precision.scaler.scale(3 * net.model.weight.sum()).backward()
    assert net.model.weight.grad.item() == 3 * 65536
    update(net, optimizer, 0.0, 2.0, precision)
    assert net.model.weight.item() == pytest.approx(before - 2, rel=1e-5)  # a norm of 3, clipped to 2
    optimizer.zero_grad()
    precision.scaler.scale(math.inf * net.model.weight.sum()).backward()
    update(net, optimizer, 0.0, 2.0, precision)
    assert net.model.weight.item() == pytest.approx(before - 2, rel=1e-5)
    assert precision.scaler.state_dict()["scale"] == 32768


def test_the_scale_is_in_the_checkpoint(tmp_path: Path) -> None:
    run, model = Run(tmp_path), nn.Linear(2, 2)
    optimizer, precision = torch.optim.SGD(model.parameters(), lr=1.0), Amp("fp16", "cpu")
    precision.scaler.load_state_dict({**precision.scaler.state_dict(), "scale": 123.0, "_growth_tracker": 7})
    checkpoint.save(run, checkpoint.capture(1, model, optimizer, {}, 0.0, precision.scaler.state_dict()))
    state, _ = checkpoint.load(run)
    assert state is not None
    again = Amp("fp16", "cpu")
    again.scaler.load_state_dict(dict(state.scaler))
    assert again.scaler.state_dict() == precision.scaler.state_dict()
    assert again.scaler.state_dict()["scale"] == 123.0
    checkpoint.save(run, checkpoint.capture(1, model, optimizer, {}, 0.0))
    state, _ = checkpoint.load(run)
    assert state is not None
    assert state.scaler == {}


def test_fp16_on_a_cpu_is_refused() -> None:
    check_amp("bf16", "cpu")
    with pytest.raises(UsageError, match="CUDA only"):
        check_amp("fp16", "cpu")
