"""Calibrated statistics against exact ones computed in float64, and where they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import nas.candidates.calibrate
from nas.candidates.calibrate import Calibration, calibrate
from nas.candidates.candidate import Candidate
from nas.candidates.ship import ship
from nas.data.opening import open_dataset
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.workflows.trained import open_trained
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UserError
from tests.support.cli_runs import content, invoke

SPACE = get_space("mbv3-tiny")


@pytest.fixture
def model() -> nn.Module:
    """A subnet whose norms have weights and statistics far from 0 and 1."""
    model = Supernet(SPACE, Interface(1, 5), seed=1).extract(SPACE.decode(SPACE.cardinality // 2))
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
        for tensor in (norm.weight.data, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.5, 2, generator=generator)
    return model


def images(n: int) -> Tensor:
    """Ones whose brightness drifts from the first to the last, so that batches differ."""
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 1, 28, 28, generator=generator) + torch.linspace(-1, 2, n)[:, None, None, None]


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}


def exact(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Mean and variance of every norm's input, all images in one batch, in float64, by hand."""
    twin = Supernet(SPACE, Interface(1, 5), seed=1).extract(SPACE.decode(SPACE.cardinality // 2))
    twin.load_state_dict(model.state_dict())
    twin.double().eval()
    found: dict[str, Tensor] = {}

    def note(path: str, norm: _BatchNorm, value: Tensor) -> None:
        axes = (0, 2, 3)
        found[f"{path}.running_mean"] = mean = value.mean(axes)
        squares = (value - mean[:, None, None]).square().sum(axes)
        found[f"{path}.running_var"] = squares / (value.numel() / value.shape[1] - 1)
        norm.running_mean, norm.running_var = mean, squares / (value.numel() / value.shape[1])

    for path, norm in twin.named_modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(lambda m, x, path=path: note(path, m, x[0]))
    with torch.no_grad():
        twin(x.double())
    return found


def test_one_batch_gives_the_exact_statistics(model: nn.Module) -> None:
    x = images(48)
    expected = exact(model, x)
    calibrate(model, x, batch_size=48)
    assert statistics(model).keys() == expected.keys()
    for name, value in statistics(model).items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_batches_are_pooled(model: nn.Module) -> None:
    """The first norm's input does not depend on the batches. The mean of the batches' variances would miss the drift,
    by more than a third here."""
    x = images(50)
    expected = exact(model, x)
    calibrate(model, x, batch_size=7)
    for name in ("bn1.running_mean", "bn1.running_var"):
        torch.testing.assert_close(model.get_buffer(name).double(), expected[name], rtol=1e-4, atol=1e-5)
    first = model.get_submodule("conv_stem")(x).detach()
    within = torch.stack([part.var((0, 2, 3)) for part in first.tensor_split(8)]).mean(0)
    assert (within < 0.67 * model.get_buffer("bn1.running_var")).any()


def test_batches_of_drawn_images_come_close_in_every_layer(model: nn.Module) -> None:
    x = images(256)[torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    expected = exact(model, x)
    calibrate(model, x)
    for name, value in statistics(model).items():
        if name.endswith("var"):
            error = ((value / expected[name]).log().abs()).max()
        else:
            error = ((value - expected[name]) / expected[name.replace("mean", "var")].sqrt()).abs().max()
        assert error < 0.1, name


@pytest.mark.parametrize("n", [2, 64, 65, 66, 129])
def test_no_batch_of_a_single_image(n: int) -> None:
    """A norm behind the pooling has one value an image, and a single image no variance."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    x = images(n)
    calibrate(net, x)
    values = net[1](net[0](x)).flatten(1)
    torch.testing.assert_close(net[2].running_var, values.var(0), rtol=1e-4, atol=1e-6)


def test_it_is_repeatable_and_leaves_the_rest_alone(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.named_parameters()}
    momenta = [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)]
    calibrate(model, images(70))
    first = statistics(model)
    calibrate(model, images(70))
    assert all(torch.equal(value, first[name]) for name, value in statistics(model).items())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)] == momenta
    assert not any(m.training or m._forward_hooks for m in model.modules())


def test_one_image_is_refused(model: nn.Module) -> None:
    with pytest.raises(UserError, match="at least two images, got 1"):
        calibrate(model, images(1))


def test_without_batch_norm_nothing_is_loaded_or_run() -> None:
    class Unrun(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pytest.fail("it was run")

    def load() -> Tensor:
        pytest.fail("images were loaded")

    calibrate(Unrun(), images(4))
    Calibration()(Unrun(), SPACE.largest, load)


def test_a_subnet_is_calibrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its precision and split; another subnet is not it."""
    dataset = open_dataset("embedded")
    net, calls = Supernet(SPACE, Interface(1, 10)), []

    def counted(model: nn.Module, x: Tensor) -> None:
        calls.append(len(x))
        calibrate(model, x)

    monkeypatch.setattr(nas.candidates.calibrate, "calibrate", counted)
    calibration = Calibration(100)
    plain = ship(net, dataset, Candidate(SPACE.smallest, "fp32"), Calibration(100)).model.state_dict()
    calls.clear()
    for precision in ("fp32", "int8", "fp32"):
        shipped = ship(net, dataset, Candidate(SPACE.smallest, precision), calibration)
        assert not shipped.model.training
        assert all(torch.equal(value, plain[name]) for name, value in shipped.model.state_dict().items())
        assert calls == [100]
    ship(net, dataset, Candidate(SPACE.largest, "fp32"), calibration)
    assert calls == [100, 100]


def test_other_weights_or_numbers_of_images_are_calibrated_anew(here: Path) -> None:
    trained = open_trained(Run(here / "run"))
    assert trained.calibration is trained.calibration
    assert trained.calibration.images == 256
    for other in (replace(trained, weights="other"), replace(trained, calibration_images=20)):
        assert other.calibration is not trained.calibration
    assert replace(trained, calibration_images=20).calibration.images == 20


def _front(run: Path) -> list[dict[str, Any]]:
    import json

    front: list[dict[str, Any]] = json.loads((run / "search-cortex-a72.json").read_text())["front"]
    return front


def test_a_search_with_another_number_of_images_measures_anew(here: Path) -> None:
    run = here / "run"
    before = content(run)
    result = invoke("search", "--run", "run", "--measurements", "4", "--compare", "none", "--calibration-images", "9")
    assert result.code == 0, result.err
    after = content(run)
    assert {"journal.log", "journal-9-images.log"} <= after.keys()
    assert after["journal.log"] == before["journal.log"]
    best = max(_front(run), key=lambda m: m["accuracy"]["value"])
    trained = open_trained(Run(run), 9)
    journal = {c.id: a for c, a in trained.journal().items()}
    assert journal[best["id"]].correct == best["accuracy"]["correct"]

    assert (
        invoke("evaluate", "best", "--split", "search", "--run", "run", "--json").json["correct"]
        == (best["accuracy"]["correct"])
    )
    exported = invoke("export", "--run", "run", "--json").json[0]
    assert exported["provenance"]["calibration_images"] == 9
    refused = invoke("evaluate", exported["path"], "--run", "run", "--calibration-images", "9")
    assert refused.code == 2
    assert "calibrated already" in refused.message


def test_too_few_images_are_refused(here: Path) -> None:
    with pytest.raises(UserError, match="`calibration_images` is 1; it must be at least 2"):
        open_trained(Run(here / "run"), 1)
