"""Residual blocks that start as the identity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.first_weights import zero_gamma
from nas.supernet.supernet import Supernet
from nas.training import loop as train
from search_spaces import get_space
from search_spaces.architecture import Interface
from tests.support.small_runs import TWO_EVALUATIONS, lower_patience, train_run, warnings_in, watched_config

TINY = get_space("mbv3-tiny")


RESIDUAL = (
    "mbv3-tiny",
    "timm:mobilenetv2_050:resolution=64,96",
    "timm:mobilenetv4_conv_small_050:resolution=64,96",
    "timm:tf_efficientnetv2_b0:resolution=64,96",
    "timm:mixnet_s:resolution=64,96",
    "timm:resnet10t:resolution=64,96",
    "timm:resnet26d:resolution=64,96",
)


@pytest.mark.parametrize("name", RESIDUAL)
def test_blocks_with_a_shortcut_pass_their_input_on(name: str) -> None:
    """Once all weights but the biases were random, so that no weight is 0 that was not made so."""
    net = Supernet(get_space(name), Interface(3, 5))
    weights = {name: p for name, p in net.model.named_parameters() if name.endswith("weight")}
    with torch.no_grad():
        for parameter in weights.values():
            parameter.uniform_(0.5, 1)
    zeroed = set(zero_gamma(net.model))
    unchanged: list[str] = []

    def check(path: str, block: nn.Module, x: Tensor, y: Tensor) -> None:
        skips = getattr(block, "has_skip", False) or (hasattr(block, "downsample") and block.downsample is None)
        if skips:
            torch.testing.assert_close(y, x)
            unchanged.append(path)

    for path, block in net.model.named_modules():
        if hasattr(block, "has_skip") or hasattr(block, "zero_init_last"):
            block.register_forward_hook(lambda m, x, y, path=path: check(path, m, x[0], y))
    net.model.eval()(torch.rand(2, 3, 64, 64))
    assert unchanged
    assert len(zeroed) >= len(unchanged)
    for norm, weight in weights.items():
        assert bool((weight == 0).all()) == (norm in zeroed), norm
        assert norm in zeroed or bool((weight != 0).all())


def test_the_norms_of_mobilenets_blocks_and_their_gradient() -> None:
    """Blocks without a shortcut, and the stem, are left alone; the branch opens with the first step."""
    net = Supernet(TINY, Interface(1, 3)).train()
    zeroed = zero_gamma(net.model)
    skips = [path for path, m in net.model.named_modules() if getattr(m, "has_skip", False)]
    assert zeroed == [f"{path}.bn3.weight" for path in skips]
    F.cross_entropy(net(torch.rand(8, 1, 28, 28), TINY.largest), torch.arange(8) % 3).backward()
    for name in zeroed:
        gradient = net.model.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["timm:convnext_atto:resolution=64,96", "timm:vit_tiny_patch16_224:resolution=64,96"])
def test_networks_without_batch_norm_stay_as_they_are(name: str) -> None:
    net, other = Supernet(get_space(name), Interface(3, 5)), Supernet(get_space(name), Interface(3, 5))
    assert zero_gamma(net.model) == []
    for tensor, expected in zip(net.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(tensor, expected)


def test_an_attention_block_keeps_its_norm() -> None:
    """The norm of MobileNetV4's attention is before it: 0 would make all keys equal, and no identity."""
    net = Supernet(get_space("timm:mobilenetv4_hybrid_medium_075:resolution=64,96"), Interface(3, 5))
    paths = [path for path, m in net.model.named_modules() if type(m).__name__ == "MobileAttention"]
    zeroed = zero_gamma(net.model)
    assert paths
    assert zeroed
    assert not [name for name in zeroed for path in paths if name.startswith(path)]


@pytest.fixture
def photos(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run that is watched with little patience."""
    lower_patience(monkeypatch)
    return photos


def test_a_run_that_starts_as_the_identity(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, before the first step: what a resumed run has learned stays."""
    made: list[list[str]] = []

    def noted(model: nn.Module) -> list[str]:
        made.append(zero_gamma(model))
        return made[-1]

    monkeypatch.setattr(train, "zero_gamma", noted)
    config = watched_config(photos, zero_gamma=True, epochs=3.0)
    run, plain = Run(tmp_path / "run"), Run(tmp_path / "plain")
    assert warnings_in(train_run(run, config, TWO_EVALUATIONS)) == []
    assert len(made) == 1
    weights = load_tensors(run.supernet)[0]
    assert made[0]
    assert all(0 < weights[name].abs().max() < 1 for name in made[0])
    run.supernet.unlink()
    train_run(run, config, TWO_EVALUATIONS)
    assert len(made) == 1
    train_run(plain, watched_config(photos, epochs=1.0), TWO_EVALUATIONS)
    assert len(made) == 1
