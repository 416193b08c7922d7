"""Precision, micro-batches, mixing, erasing, learning rate and forecast against something independent."""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.data.mixing import check_mixing, mix
from nas.data.opening import open_dataset
from nas.events import Event, Noted, Warned
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training import checkpoint
from nas.training import loop as train
from nas.training.amp import Precision, check_amp
from nas.training.config import Engine, TrainConfig, check_settings
from nas.training.loop import Interrupted
from nas.training.rehearsal import forecast, lr_finder
from nas.training.rehearsal.forecast import kept_bytes
from nas.training.step import StepInput, check_accumulate, mix_batch, run_passes, update
from nas.training.strategies import Pass
from nas.workflows import train as training
from search_spaces import get_space
from search_spaces.errors import UsageError
from tests.conftest import PhotoFolder

TINY = get_space("mbv3-tiny")
CONVNEXT = get_space("timm:convnext_atto:resolution=32,48")  # layer norm: images do not see each other
ENGINE = Engine(workers=0, save_seconds=1e9, evaluations=1)
PLAIN = Loss()


@pytest.fixture
def photos(photo_folder: PhotoFolder) -> Path:
    """32 training images: 4 steps of 4 in half an epoch."""
    return photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(28, 28))


def _config(photos: Path, **more: Any) -> TrainConfig:
    return TrainConfig(source=str(photos), epochs=0.5, batch_size=4, **{"strategy": "random", **more})


def _train(run: Run, config: TrainConfig, engine: Engine = ENGINE) -> list[Event]:
    reports: list[Event] = []
    training.train_supernet(run, config, engine, reports.append)
    return reports


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return load_tensors(run.supernet)[0]


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _stopped_at(step: int, run: Run, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until SIGINT arrives in ``step``; the state is saved."""
    real: Callable[..., int] = train.torch_seed

    def interrupting(seed: int, now: int, *rest: int) -> int:
        if now == step:
            signal.raise_signal(signal.SIGINT)
        return real(seed, now, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "torch_seed", interrupting)
        with pytest.raises(Interrupted):
            _train(run, config)


@pytest.mark.parametrize(
    "more",
    [
        {"amp": "bf16", "augment": "none"},
        {"strategy": "sandwich", "accumulate": 2, "mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "augment": "light"},
        {"base_batch": 16, "cutmix": 1.0, "augment": "strong", "erasing": 0.0, "ema": 0.9},
    ],
    ids=["bf16", "mixed micro-batches", "scaled"],
)
def test_stopped_or_not_is_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    config = _config(photos, **more)
    straight, stopped, plain = (Run(tmp_path / name) for name in ("straight", "stopped", "plain"))
    _train(straight, config)
    _stopped_at(2, stopped, config, monkeypatch)
    _train(stopped, config)
    assert _equal(_weights(stopped), _weights(straight))
    _train(plain, _config(photos, strategy=config.strategy, augment=config.augment, ema=config.ema))
    assert not _equal(_weights(plain), _weights(straight))  # the settings do something


# Precision


def _gradients(net: Supernet) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in net.model.named_parameters() if p.grad is not None}


def _batch(n: int, side: int = 28, channels: int = 1, classes: int = 3) -> StepInput:
    draw = torch.Generator().manual_seed(n)
    return StepInput(torch.randn(n, channels, side, side, generator=draw), torch.randint(classes, (n,), generator=draw))


def test_bf16_computes_in_bf16_and_is_close_to_fp32() -> None:
    seen: list[torch.dtype] = []
    found = {}
    for amp in ("off", "bf16"):
        net = Supernet(TINY, 3, 1, seed=1)
        net.skeleton(TINY.largest).model.conv_stem.register_forward_hook(lambda m, a, out: seen.append(out.dtype))
        (loss,) = run_passes(net, [Pass(TINY.largest)], _batch(8), get_task(), PLAIN, Precision(amp))
        found[amp] = loss, _gradients(net)
    assert seen == [torch.float32, torch.bfloat16]
    assert found["bf16"][0] == pytest.approx(found["off"][0], rel=0.02)
    assert found["bf16"][0] != found["off"][0]
    full, half = (torch.cat([g.flatten() for g in found[amp][1].values()]) for amp in ("off", "bf16"))
    assert half.dtype == torch.float32
    assert F.cosine_similarity(full, half, dim=0) > 0.95


def test_off_is_the_plain_step() -> None:
    """The default touches nothing: as bits, loss and gradients are those of a plain backward pass."""
    net, plain = Supernet(TINY, 3, 1, seed=1), Supernet(TINY, 3, 1, seed=1)
    batch = _batch(6)
    (loss,) = run_passes(net, [Pass(TINY.largest)], batch, get_task(), PLAIN)
    plain.train()
    images = batch.images.contiguous(memory_format=torch.channels_last)
    expected = F.cross_entropy(plain(images, TINY.largest), batch.labels)
    expected.backward()
    assert loss == expected.item()
    assert _equal(_gradients(net), _gradients(plain))


class _OneWeight(nn.Module):
    """Stands for a supernet with a single weight."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)


def test_scaled_gradients_are_unscaled_before_they_are_clipped() -> None:
    """The loss scaling of fp16 (which exists on a CPU too) leaves no trace in a step, and skips an overflow."""
    net: Any = _OneWeight()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    precision = Precision("fp16", "cpu")
    before = net.model.weight.item()
    precision.backward(3 * net.model.weight.sum())
    assert net.model.weight.grad.item() == 3 * 65536
    update(net, optimizer, 0.0, 2.0, precision)
    assert net.model.weight.item() == pytest.approx(before - 2, rel=1e-5)  # a norm of 3, clipped to 2
    optimizer.zero_grad()
    precision.backward(math.inf * net.model.weight.sum())
    update(net, optimizer, 0.0, 2.0, precision)
    assert net.model.weight.item() == pytest.approx(before - 2, rel=1e-5)
    assert precision.state()["scale"] == 32768


def test_the_scale_is_in_the_checkpoint(tmp_path: Path) -> None:
    run, model = Run(tmp_path), nn.Linear(2, 2)
    optimizer, precision = torch.optim.SGD(model.parameters(), lr=1.0), Precision("fp16", "cpu")
    precision.load({**precision.state(), "scale": 123.0, "_growth_tracker": 7})
    checkpoint.save(run, checkpoint.capture(1, model, optimizer, {}, 0.0, precision.state()))
    state, _ = checkpoint.load(run)
    assert state is not None
    again = Precision("fp16", "cpu")
    again.load(state.scaler)
    assert again.state() == precision.state()
    assert again.state()["scale"] == 123.0
    checkpoint.save(run, checkpoint.capture(1, model, optimizer, {}, 0.0))
    state, _ = checkpoint.load(run)
    assert state is not None
    assert state.scaler == {}


def test_fp16_on_a_cpu_is_refused() -> None:
    check_amp("bf16", "cpu")
    with pytest.raises(UsageError, match="CUDA only"):
        check_amp("fp16", "cpu")
    with pytest.raises(UsageError, match="did you mean 'bf16'"):
        check_amp("bf61", "cpu")


# Micro-batches


@pytest.mark.parametrize("count", [2, 3])
def test_micro_batches_average_to_the_whole_batch(count: int) -> None:
    """Without batch norm; 8 images in 3 are 2 + 3 + 3."""
    largest, smallest = CONVNEXT.largest, CONVNEXT.smallest
    passes = [Pass(largest, "teacher"), Pass(smallest, "student", 0.5), Pass(smallest, part=(1, 2))]
    batch, found = _batch(8, 48, 3), []
    for accumulate in (1, count):
        net = Supernet(CONVNEXT, 3, 3, seed=1)
        losses = run_passes(net, passes, batch, get_task(), PLAIN, accumulate=accumulate)
        found.append((losses, _gradients(net)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-4, atol=1e-5)


def test_batch_norm_sees_micro_batches() -> None:
    """The running mean moves once a micro-batch, by a tenth, towards that micro-batch's own."""
    net = Supernet(TINY, 3, 1, seed=1)
    batch = _batch(8)
    run_passes(net, [Pass(TINY.largest)], batch, get_task(), PLAIN, accumulate=2)
    stem = Supernet(TINY, 3, 1, seed=1).model.conv_stem
    expected = torch.zeros(stem.out_channels)
    for half in batch.images.split(4):
        expected = 0.9 * expected + 0.1 * stem(half).mean((0, 2, 3))
    torch.testing.assert_close(net.model.bn1.running_mean, expected, rtol=1e-4, atol=1e-6)


def test_micro_batches_hold_two_images_or_more() -> None:
    sizes: list[int] = []
    net = Supernet(TINY, 3, 1)
    net.skeleton(TINY.largest).model.conv_stem.register_forward_hook(lambda m, a, out: sizes.append(len(out)))
    run_passes(net, [Pass(TINY.largest, part=(0, 2))], _batch(10), get_task(), PLAIN, accumulate=5)
    assert sizes == [2, 3]
    check_accumulate(4, 9)
    for count in (0, 5):
        with pytest.raises(UsageError, match="4 micro-batches at most"):
            check_accumulate(count, 9)


def test_passes_of_one_step_have_their_own_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sides = Supernet(TINY, 3, 1), []
    sizes = [a.resolution for a in (TINY.largest, TINY.smallest)]
    assert sizes[0] != sizes[1]
    real = net.forward

    def noting(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        sides.append(images.shape[-1])
        return real(images, *rest)

    monkeypatch.setattr(net, "forward", noting)
    passes = [Pass(TINY.largest, "teacher"), Pass(TINY.smallest, "student")]
    run_passes(net, passes, _batch(4, sizes[0]), get_task(), PLAIN)
    assert sides == sizes


# Mixing and erasing


def test_mixup_is_a_weighted_mean_of_two_images_and_of_what_is_known_of_them() -> None:
    batch = replace(_batch(6), teacher=torch.rand(6, 3).softmax(1))
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
    before = _batch(4, side).images
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
    before, state = _batch(4).images, np.random.get_state()[1].copy()
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


def test_mixing_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="65 is odd"):
        check_mixing(0.2, 0.0, None, 65)
    check_mixing(0.0, 0.0, 0.3, 65)
    with pytest.raises(UsageError, match="more than 0"):
        check_mixing(-0.2, 0.0, None, 64)
    with pytest.raises(UsageError, match=r"--erasing 1\.5"):
        check_mixing(0.0, 0.0, 1.5, 64)


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


# Learning rate


def test_smoothed_is_a_weighted_mean_of_what_came_before() -> None:
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    for end in range(1, 6):
        weights = [0.8 ** (end - 1 - i) for i in range(end)]
        expected = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert lr_finder.smoothed(losses)[end - 1] == pytest.approx(expected)


def test_the_rate_taken_is_a_share_of_the_lowest_losss() -> None:
    rates = [10.0**k for k in range(-5, 1)]
    losses = [2.0, 2.0, 1.5, 0.5, 9.0, math.nan]
    assert lr_finder.pick(rates, losses) == pytest.approx(0.01 / 3, rel=0.02)


def test_the_range_test_stops_where_a_known_problem_diverges(photos: Path) -> None:
    """Rates rise by a constant factor and the test ends early; random generators are left alone."""
    dataset = open_dataset(str(photos))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = lr_finder.find_lr(_config(photos), dataset, ENGINE, 25)
    assert torch.equal(torch.get_rng_state(), before)
    ratios = np.divide(found.rates[1:], found.rates[:-1])
    np.testing.assert_allclose(ratios, (10 / 1e-5) ** (1 / 24), rtol=1e-6)
    assert 1e-5 <= found.lr < 10 / 3
    smooth = lr_finder.smoothed(found.losses)
    assert all(value <= 1.5 * min(smooth[: i + 1]) for i, value in enumerate(smooth[:-1]))
    assert found == lr_finder.find_lr(_config(photos), dataset, ENGINE, 25)


def test_a_rate_that_was_found_is_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(photos, lr_auto=True)
    calls = []

    def find(*arguments: Any) -> lr_finder.Found:
        calls.append(arguments[3])
        return lr_finder.Found(0.03, (), ())

    monkeypatch.setattr(lr_finder, "find_lr", find)
    monkeypatch.setattr(lr_finder, "LEAST_STEPS", 0)
    monkeypatch.setattr(lr_finder, "range_steps", lambda steps: 5)
    found, given = Run(tmp_path / "found"), Run(tmp_path / "given")
    _stopped_at(2, found, config, monkeypatch)
    assert found.read()["lr"] == 0.03
    _train(found, config)
    assert calls == [5]
    _train(given, replace(config, lr_auto=False, lr=0.03))
    assert _equal(_weights(found), _weights(given))


def test_short_runs_take_a_default_rate(photos: Path, tmp_path: Path) -> None:
    for optimizer, rate in (("nesterov", 0.1), ("adamw", 0.002)):
        run = Run(tmp_path / optimizer)
        reports = _train(run, _config(photos, lr_auto=True, optimizer=optimizer))
        assert any(isinstance(e, Warned) and "too few to find a learning rate" in e.text for e in reports)
        assert run.read()["lr"] == rate
    assert [lr_finder.range_steps(steps) for steps in (599, 600, 5000)] == [0, 60, 100]


def test_a_rate_scales_with_the_batch() -> None:
    config = TrainConfig(lr=0.1, base_batch=256, batch_size=64)
    assert lr_finder.scaled(config).lr == pytest.approx(0.025)
    assert lr_finder.scaled(replace(config, batch_size=512)).lr == pytest.approx(0.2)
    assert lr_finder.scaled(lr_finder.scaled(config)).lr == pytest.approx(0.025)
    assert lr_finder.scaled(replace(config, base_batch=0)).lr == 0.1
    with pytest.raises(UsageError, match="leave --base-batch out"):
        lr_finder.check_lr(replace(config, lr_auto=True))
    assert lr_finder.parse_lr(" Auto") is None
    assert lr_finder.parse_lr("3e-2") == 0.03
    with pytest.raises(UsageError, match="a number, or auto"):
        lr_finder.parse_lr("fast")


# Forecast


def test_kept_bytes_of_a_network_small_enough_to_count() -> None:
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.Sigmoid())
    images = torch.randn(7, 10)
    with kept_bytes([*net.parameters(), images]) as count:
        net(images).sum()
    assert sorted(count()) == [
        4 * 7 * 20,
        4 * 7 * 30,
    ]  # the ReLU's result, which the next layer needs too, and the sigmoid's


@pytest.mark.parametrize(("optimizer", "slots"), [("momentum", 0), ("nesterov", 1), ("adamw", 2)])
def test_forecast_counts_weights_gradients_slots_and_average(
    photos: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, slots: int
) -> None:
    monkeypatch.setattr(forecast, "_step_seconds", lambda *a: 0.5)
    monkeypatch.setattr(forecast, "_evaluation_seconds", lambda *a: 3.0)
    config = _config(photos, optimizer=optimizer, momentum=0.0 if optimizer == "momentum" else 0.9)
    dataset = open_dataset(str(photos))
    found = forecast.forecast(config, dataset, ENGINE)
    bigger = forecast.forecast(replace(config, batch_size=8), dataset, ENGINE)
    averaged = forecast.forecast(replace(config, ema=0.9), dataset, ENGINE)
    halved = forecast.forecast(replace(config, batch_size=8, accumulate=2), dataset, ENGINE)
    model = Supernet(TINY, 3, 3).model
    parameters = 4 * sum(p.numel() for p in model.parameters())
    state = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    image = 4 * 3 * 28 * 28
    activations = bigger.bytes - found.bytes - 4 * image
    rest = found.bytes - 4 * image - activations  # activations of 4 more images are those of 4
    assert rest == pytest.approx(state + parameters * (1 + slots), rel=0.02)
    assert averaged.bytes - found.bytes == pytest.approx(state, rel=0.01)
    assert bigger.bytes - halved.bytes == pytest.approx(activations, rel=0.01)
    assert found.steps == 4
    assert found.seconds == 4 * 0.5 + 3


def test_a_forecast_changes_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(photos, mixup=0.2)
    plain, forecasted = Run(tmp_path / "plain"), Run(tmp_path / "forecasted")
    assert not any(isinstance(e, Noted) and "MB of tensors" in e.text for e in _train(plain, config))
    monkeypatch.setattr(training, "WORTH_A_FORECAST", 1)
    monkeypatch.setattr(forecast, "_MOST", 3)
    reports = _train(forecasted, config)
    assert any(isinstance(e, Noted) and "MB of tensors" in e.text for e in reports)
    assert _equal(_weights(forecasted), _weights(plain))
    assert plain.read() == forecasted.read()


def test_a_run_that_does_not_fit_is_not_tried(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(forecast, "_step_seconds", lambda *a: pytest.fail("it would not fit"))
    found = forecast.forecast(_config(photos), open_dataset(str(photos)), ENGINE)
    assert not found.fits
    assert found.seconds is None
    message = forecast.shortage(found)
    assert message is not None
    assert "--batch-size" in message
    assert forecast.shortage(replace(found, free=None)) is None


def test_timed_steps_spread_over_the_run() -> None:
    points = [forecast._spread(i) for i in range(7)]
    assert sorted(points) == [i / 8 for i in range(1, 8)]
    assert sorted(points[:3]) == [0.25, 0.5, 0.75]


def test_free_memory_is_plausible() -> None:
    free = forecast.free_bytes("cpu")
    assert free is not None
    assert 1e6 < free < 1e15


def test_forecast_in_words() -> None:
    words = forecast.describe(forecast.Forecast(10, 7200.0, 2_500_000_000, None))
    assert words == "about 2.0 h, 2.5 GB of tensors"
    assert forecast.describe(forecast.Forecast(10, 600.0, 3_000_000, None)) == "about 10 min, 3 MB of tensors"


@pytest.mark.parametrize("more", [{"optimizer": "sgd", "momentum": 0.0}, {"momentum": -1.0}])
def test_an_optimizer_that_cannot_be_built_is_refused_in_one_line(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--optimizer \w+ cannot be used with these settings: .*") as caught:
        check_settings(TrainConfig(**more))
    assert "\n" not in str(caught.value)
