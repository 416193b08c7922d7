"""Strategy teacher-first: the whole is adapted as if it were trained alone, then teaches; stopped anywhere or never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.candidates.calibrate import calibrate
from nas.data.batches import calibration_images, eval_batches
from nas.data.opening import open_dataset
from nas.events import Noted
from nas.store.files import load_tensors
from nas.store.records import RunRecord
from nas.store.run import Run
from nas.store.versions import versions
from nas.supernet.supernet import Supernet
from nas.training import adaptation
from nas.training import loop as train
from nas.training.builders import choose_optimizer
from nas.training.config import TrainConfig, count_epochs, peak_lr, subnets_lr, total_steps
from nas.training.loop import Curriculum
from nas.training.strategies.base import NETWORK, RANDOM, SUPERNET
from nas.training.strategies.fixed import Fixed
from nas.training.strategies.table import choose, get_strategy
from nas.training.teacher.answers import answers_of
from nas.training.weights import measure_filters
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from tests.kits.strategy import facts_of, passes_of
from tests.support.cli_runs import invoke
from tests.support.long_forms import LONG, long_form
from tests.support.small_runs import RESOURCES, TINY, are_equal, assert_same_run, train_run
from tests.support.stopping import Acts, interrupt, kill

BEGIN = 4  # of 8 steps


def config_of(photos: Path, **more: Any) -> TrainConfig:
    """Eight steps: four for the whole, four for its subnets."""
    return TrainConfig(
        source=str(photos),
        space=TINY.name,
        strategy="teacher-first",
        adapt_share=0.5,
        epochs=1.0,
        batch_size=4,
        lr=0.02,
        **more,
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.cli_runs import write_photos

    return write_photos(tmp_path_factory.mktemp("first") / "photos", count=15)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Never stopped; tests change nothing in it."""
    run = Run(tmp_path_factory.mktemp("straight") / "run")
    train_run(run, config_of(photos, ema=0.5))
    return run


# What is trained


def test_transformers_are_trained_with_adamw() -> None:
    for name, optimizer in ((TINY.name, "nesterov"), ("timm:test_vit", "adamw"), ("timm:convnext_atto", "adamw")):
        assert choose_optimizer(get_space(name), Interface(3, 2)) == optimizer
    rates = [peak_lr(TrainConfig(optimizer="adamw", init=init)) for init in (None, "given.pth")]
    assert 0.0001 <= rates[0] <= 0.01  # published ones are about 0.001 from scratch
    assert rates[1] < 0.1 * rates[0]


def test_the_largest_first_and_then_subnets() -> None:
    facts = replace(facts_of(steps=100), adapt_share=0.3)
    strategy = get_strategy("teacher-first", facts)
    first = [passes_of(strategy, step) for step in range(30)]
    assert all([one.architecture for one in passes] == [facts.space.largest] for passes in first)
    later = [one.architecture for step in range(30, 100) for one in passes_of(strategy, step)]
    assert len(set(later)) > 50


def test_the_adapted_network_is_the_one_that_trains_alone(photos: Path, tmp_path: Path) -> None:
    """Its weights, against the same steps of a run that trains nothing else."""
    run, alone = Run(tmp_path / "run"), Run(tmp_path / "alone")
    config = config_of(photos)
    train_run(run, config)
    dataset = open_dataset(str(photos))
    half = replace(config, epochs=0.5)
    alone.path.mkdir()
    alone.write(RunRecord(config={}, data=dataset.info, versions=versions(), complete=False))
    fixed = Curriculum(Fixed(TINY, TINY.largest), {}, TINY.largest.resolution)
    train.train(alone, half, dataset, RESOURCES, lambda _: None, fixed)
    assert are_equal(load_tensors(run.adapted)[0], load_tensors(alone.supernet)[0])


def test_its_answers_are_those_of_the_plain_network(photos: Path, straight: Run) -> None:
    """The teacher's file against a timm model with the adapted weights."""
    dataset = open_dataset(str(photos))
    answers = answers_of(straight, str(straight.adapted), 1.0, dataset, "cpu", lambda _: pytest.fail("asked again"))
    assert answers is not None
    model = TINY.build(TINY.largest, Interface(3, 3))
    model.load_state_dict(load_tensors(straight.adapted)[0])
    calibrate(model, calibration_images(dataset, TINY.largest.resolution))
    with torch.no_grad():
        pixels = torch.cat([images for images, _ in eval_batches(dataset, "train", TINY.largest.resolution, 64)])
        expected = model(pixels).softmax(1)
    torch.testing.assert_close(answers.of(np.arange(len(expected))), expected, rtol=1e-4, atol=1e-5)


def test_handing_over_changes_the_order_of_channels_alone(photos: Path, tmp_path: Path) -> None:
    dataset, run = open_dataset(str(photos)), Run(tmp_path)
    net = Supernet(TINY, dataset.interface, 3)
    net.model.classifier.weight.data.mul_(20)
    images = calibration_images(dataset, TINY.largest.resolution)
    net.train()
    net(images, TINY.largest)  # running statistics of its own
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    expected = net.eval()(images, TINY.largest).detach()
    adaptation.hand_over(net, {}, run, config_of(photos), dataset, train.ALONE, 4, lambda _: None)
    after = net.model.state_dict()
    assert are_equal(load_tensors(run.adapted)[0], before)
    assert not are_equal(dict(after), before)
    assert all(
        torch.equal(after[name].sort()[0].flatten().sort()[0], before[name].flatten().sort()[0]) for name in before
    )
    torch.testing.assert_close(net.eval()(images, TINY.largest).detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("most", [64, 5], ids=["batches", "parts"])
def test_a_last_batch_of_one_image_is_not_asked(photos: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Batch norm needs two values per channel; maps of one pixel give one per image. ``most``: images in a part."""
    dataset = open_dataset(str(photos))
    few = replace(dataset, splits={**dataset.splits, "train": dataset.train[:17]})
    monkeypatch.setattr(adaptation, "BATCH", 8)
    net = Supernet(get_space("timm:resnet10t:resolution=32"), dataset.interface, 0)
    seen: list[int] = []
    net.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(net, "forward", lambda images, _: net.model(images))
    adaptation.order_by_loss(net, few, most)
    assert seen == ([8, 8] if most == 64 else [4, 4, 4, 4])


# Stopping


@pytest.mark.parametrize(
    ("step", "act"),
    [
        pytest.param(step, act, marks=[] if (step, act) in ((BEGIN - 1, kill), (BEGIN, interrupt)) else [LONG])
        for step in (1, BEGIN - 1, BEGIN, BEGIN + 2)
        for act in (interrupt, kill)
    ],
)
def test_stopped_in_any_part_or_never_is_the_same(
    photos: Path, straight: Run, tmp_path: Path, at_steps: Acts, step: int, act: Callable[[], None]
) -> None:
    run, config = Run(tmp_path / "run"), config_of(photos, ema=0.5)
    at_steps.append((step, act))
    with pytest.raises(BaseException):  # noqa: B017, PT011  (stopped in one way or the other)
        train_run(run, config)
    assert not run.supernet.exists()
    train_run(run, config)
    assert_same_run(run, straight)
    for name in ("adapted", "teacher"):
        assert are_equal(load_tensors(getattr(run, name))[0], load_tensors(getattr(straight, name))[0])


@pytest.mark.parametrize("where", long_form(["save_weights"], ["order_channels"]))
def test_killed_while_handing_over(
    photos: Path, straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run, config = Run(tmp_path / "run"), config_of(photos, ema=0.5)
    with monkeypatch.context() as patched:
        patched.setattr(adaptation, where, lambda *_: kill())
        with pytest.raises(BaseException):  # noqa: B017, PT011
            train_run(run, config)
    train_run(run, config)
    assert_same_run(run, straight)


# What is chosen


def test_auto_goes_by_the_first_weights() -> None:
    facts = facts_of(steps=1000)
    assert choose(replace(facts, start=NETWORK))[0] == "teacher-first"
    assert choose(replace(facts, start=RANDOM))[0] == "random"
    assert choose(replace(facts, start=SUPERNET))[0] == "random"


def test_filters_of_twice_the_length_take_four_times_the_rate() -> None:
    """Behind a batch norm both networks compute the same, and a step with the rates of the rule leaves it so."""
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.arange(8) % 4
    outputs, rates = [], []
    for scale in (0.3, 0.6):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, eps=1e-12), nn.Flatten(), nn.Linear(80, 4)).double()
        weights = torch.linspace(-1, 1, 5 * 27, dtype=torch.float64).sin().reshape(5, 3, 3, 3)
        nn.init.constant_(net[3].weight, 0.1)
        with torch.no_grad():
            net[0].weight.copy_(scale * weights)
            net[3].weight.mul_(torch.arange(4 * 80).reshape(4, 80) % 7)
        rates.append(subnets_lr(0.1, measure_filters({"conv": net[0].weight.detach()})))
        nn.functional.cross_entropy(net(images), labels).backward()
        with torch.no_grad():
            net[0].weight.sub_(net[0].weight.grad, alpha=rates[-1])
            outputs.append(net(images))
    assert rates[1] == pytest.approx(4 * rates[0])
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("filters", "times"), [(1e-6, 1), (1.4, 3), (2.8, 6), (1e6, 6)])
def test_subnets_have_one_to_six_times_the_rate(filters: float, times: float) -> None:
    assert subnets_lr(0.01, filters, "nesterov") == pytest.approx(0.01 * times)
    assert subnets_lr(0.01, filters, "adamw") == pytest.approx(0.01)  # whatever the filters: its steps have one length


def test_norms_of_filters_are_those_of_dense_layers() -> None:
    weights = {
        "dense": torch.full((4, 3, 1, 1), 2.0),
        "linear": torch.full((2, 5), 1.0),
        "other": torch.full((2, 7), 1.0),
        "depthwise": torch.full((9, 1, 3, 3), 100.0),
        "bias": torch.full((4,), 100.0),
        "steps": torch.tensor(3),
    }
    assert measure_filters(weights) == 7.0  # the middle one of 5, 7 and 12


def test_rates_and_epochs_go_by_the_start() -> None:
    scratch, given = TrainConfig(), TrainConfig(pretrained=True)
    assert (peak_lr(scratch), count_epochs(scratch, 5000)) == (0.1, 24)
    assert peak_lr(given) < peak_lr(scratch)
    epochs = [count_epochs(given, images) for images in (100, 3000, 10_000, 10**6)]
    assert epochs == sorted(epochs, reverse=True)
    asked = replace(given, lr=0.3, epochs=2.0)
    assert (peak_lr(asked), count_epochs(asked, 5000)) == (0.3, 2)
    assert total_steps(asked, 640) == 20


def test_a_run_from_a_network_records_what_it_settled_and_continues(photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=3).state_dict(), weights)
    notes: list[str] = []
    config = TrainConfig(
        source=str(photos), space="timm:resnet10t:resolution=32", init=str(weights), batch_size=16, augment="none",
        adapt_share=0.1,
    )  # fmt: skip
    quick = replace(config, epochs=1.0)
    run = Run(tmp_path / "run")
    train_supernet(run, quick, RESOURCES, lambda e: notes.append(e.text) if isinstance(e, Noted) else None)
    record = run.read().config
    assert (record["strategy"], record["lr"], record["epochs"]) == ("teacher-first", peak_lr(config), 1.0)
    assert [note for note in notes if note.startswith("strategy teacher-first: ")]
    assert run.adapted.exists()
    weights.unlink()  # what is trained is not trained again, and needs no file
    train_supernet(run, config, RESOURCES, lambda _: None)


def test_the_run_of_an_earlier_version_keeps_its_strategy(photos: Path, tmp_path: Path) -> None:
    """A record that says auto was written when auto went by the steps alone."""
    run = tmp_path / "run"
    common = ("train-supernet", "--data", photos, "--space", TINY.name, "--batch-size", 4)
    invoke(*common, "--epochs", 0.5, "--lr", 0.1, "--strategy", "random", "--out", run)
    record = Run(run).read()
    expected = load_tensors(Run(run).supernet)[0]
    for path in Run(run).path.glob("*.safetensors"):
        path.unlink()
    old = {key: value for key, value in record.config.items() if key != "adapt_share"} | {"strategy": "auto"}
    Run(run).write(replace(record, config=old, complete=False, weights=None, steps=None))
    invoke(*common, "--out", run)
    assert are_equal(load_tensors(Run(run).supernet)[0], expected)
    assert Run(run).read().config["strategy"] == "auto"
