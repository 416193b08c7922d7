"""Several processes train what one process trains, and end together."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.modules.batchnorm import _BatchNorm

from nas.data.batches import Rows, train_batches
from nas.data.dataset import Dataset, interface_of
from nas.data.opening import open_dataset
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training import loop as train
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.processes.launch import join_run, launch
from nas.training.processes.world import ALONE, World, check_processes
from nas.training.step import StepInput, mix_batch, run_passes
from nas.training.strategies.base import Pass
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError, UserError
from tests.support.cli_runs import invoke, write_photos
from tests.support.stopping import FORK, NAS, Forked, start, wait_for

pytestmark = pytest.mark.xdist_group("distributed")  # their fixtures take long: made once, by one process

TINY = get_space("mbv3-tiny")
ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=1)


def worlds(size: int) -> list[World]:
    """All processes of a run, without anything between them."""
    return [World(rank, size) for rank in range(size)]


# What a process sees


@pytest.mark.parametrize(("images", "size"), [(12, 2), (12, 3), (13, 3), (64, 5)])
def test_shares_follow_each_other_and_are_alike(images: int, size: int) -> None:
    rows = np.concatenate([np.arange(images)[world.rows(images)] for world in worlds(size)])
    np.testing.assert_array_equal(rows, np.arange(images))
    lengths = [end - begin for begin, end in (world.share(images) for world in worlds(size))]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("augment", "erasing"), [("none", None), ("light", 0.5), ("strong", None)])
@pytest.mark.parametrize("held", [True, False])
def test_a_process_loads_its_images_as_they_are_in_the_whole_batch(
    augment: str, erasing: float | None, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr("nas.data.batches.MEMORY_BYTES", 0)
    dataset = open_dataset("embedded")
    few = replace(dataset, splits={**dataset.splits, "train": dataset.splits["train"][:40]})

    def batch(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        return next(train_batches(few, 12, 0, 2, 1, 28, augment, 0, False, erasing, rows))

    images, labels = batch(slice(None))
    for world in worlds(3):
        for mirrored in (False, True):
            rows = world.rows(12, mirrored)
            own_images, own_labels = batch(rows)
            assert torch.equal(own_images, images[rows])
            assert torch.equal(own_labels, labels[rows])


@pytest.mark.parametrize("size", [2, 3])
def test_mixing_pairs_the_images_of_the_whole_batch(size: int) -> None:
    draw = torch.Generator().manual_seed(0)
    images, teacher = torch.randn(12, 1, 28, 28, generator=draw), torch.rand(12, 3, generator=draw)
    labels = torch.randint(3, (12,), generator=draw)
    for step in range(4):
        whole = mix_batch(StepInput(images.clone(), labels, teacher), get_task(), 3, 0.4, 1.0, 0, step)
        for world in worlds(size):
            rows, own = world.rows(12, mirrored=True), slice(*world.share(12))
            batch = world.own(
                mix_batch(StepInput(images[rows], labels[rows], teacher[rows]), get_task(), 3, 0.4, 1.0, 0, step), 12
            )
            torch.testing.assert_close(batch.images, whole.images[own], rtol=0, atol=0)
            torch.testing.assert_close(batch.labels, whole.labels[own])
            assert batch.teacher is not None
            assert whole.teacher is not None
            torch.testing.assert_close(batch.teacher, whole.teacher[own])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (3, 1), (2, 2)])
def test_gradients_and_losses_of_the_shares_add_up(size: int, accumulate: int, parts: int) -> None:
    """With statistics that do not depend on the batch; three parts do not fall on the bounds of two shares."""
    draw = torch.Generator().manual_seed(0)
    batch = StepInput(torch.randn(18, 1, 28, 28, generator=draw), torch.randint(3, (18,), generator=draw))
    net = Supernet(TINY, Interface(1, 3))
    net.frozen_statistics = True
    rng = np.random.default_rng(0)
    passes: list[Pass] = []
    for i in range(parts):
        subnets = [TINY.decode(v) for v in TINY.sample(rng, 2)]
        passes += [Pass(subnets[0], "teacher", 1.0, (i, parts)), Pass(subnets[1], "student", 0.5, (i, parts))]

    def gradients(share: StepInput) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        net.zero_grad(set_to_none=True)
        losses = run_passes(net, passes, share, get_task(), Loss(0.1), accumulate=accumulate)
        return {n: p.grad for n, p in net.model.named_parameters() if p.grad is not None}, torch.tensor(losses)

    whole, losses = gradients(batch)
    total: dict[str, torch.Tensor] = {name: torch.zeros_like(grad) for name, grad in whole.items()}
    summed = torch.zeros(len(passes))
    for world in worlds(size):
        rows = world.rows(18)
        found, own = gradients(world.own(StepInput(batch.images[rows], batch.labels[rows]), 18))
        summed += own
        for name, grad in found.items():
            total[name] += grad
    torch.testing.assert_close(summed, losses, rtol=1e-5, atol=1e-6)
    for name, grad in whole.items():
        torch.testing.assert_close(total[name], grad, rtol=1e-4, atol=1e-6)


def test_a_part_of_one_image_is_refused() -> None:
    share = World(0, 2).own(StepInput(torch.zeros(7, 1, 28, 28), torch.zeros(7)), 14)
    assert [len(share.part(i, 4).labels) for i in (0, 1, 3)] == [3, 4, 0]
    with pytest.raises(UsageError, match="a batch size that parts and processes divide"):
        World(0, 2).own(StepInput(torch.zeros(7, 1, 28, 28), torch.zeros(7)), 15).part(2, 5)


def test_shares_that_are_too_small_are_refused() -> None:
    check_processes(1, 2)
    check_processes(3, 6)
    with pytest.raises(UsageError, match="give 6 or more"):
        check_processes(3, 5)
    with pytest.raises(UsageError, match="give 12 or more"):
        check_processes(3, 6, accumulate=2)
    result = invoke("train-supernet", "--batch-size", "3", "--nproc", "2")
    assert result.code == 2
    assert "give 4 or more" in result.message


def test_frozen_statistics_stay_and_normalise() -> None:
    """In training, after evaluation and back, the network computes what it computes in evaluation."""
    net = Supernet(TINY, Interface(1, 3))
    net.frozen_statistics = True
    for norm in net.model.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    before = {name: tensor.clone() for name, tensor in net.model.named_buffers()}
    images = torch.randn(4, 1, 28, 28)
    for architecture in (TINY.largest, TINY.smallest, TINY.largest):
        expected = net.extract(architecture)(images)
        for mode in (True, False, True):
            torch.testing.assert_close(net.train(mode)(images, architecture), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.model.named_buffers())
    net.frozen_statistics = False
    other = Supernet(TINY, Interface(1, 3)).train()(images, TINY.largest)
    assert not torch.allclose(other, net.extract(TINY.largest)(images))


# Two processes


GENTLE = TrainConfig(lr=0.005, clip_norm=1.0, batch_size=8, freeze_bn=True)  # rounding grows with the rate
CONFIGS = {
    "sandwich": replace(GENTLE, strategy="sandwich", epochs=3, ema=0.9),
    "attentive": replace(GENTLE, strategy="attentive-best", epochs=1, mixup=0.4),
    "sorted": replace(GENTLE, strategy="sorted", epochs=4, batch_size=32, augment="light"),
    "statistics": TrainConfig(strategy="random", epochs=2, batch_size=8, dropout=0.2, ema=0.9),
}


def _config(folder: Path, name: str) -> TrainConfig:
    config = CONFIGS[name]
    init = str(folder / "start.safetensors") if config.freeze_bn else None
    return replace(config, source=str(folder / "photos"), init=init)


def _train(run: Run, config: TrainConfig, world: World = ALONE, stop_at: int | None = None) -> list[list[float]]:
    """Train; the losses of every pass of the steps done. ``stop_at``: the step at which this process gets a SIGINT."""
    losses: list[list[float]] = []
    reduce, batches = World.reduce, train_batches

    def recorded(self: World, *arguments: Any) -> list[float]:
        losses.append(reduce(self, *arguments))
        return losses[-1]

    def stopping(dataset: Dataset, size: int, seed: int, start: int, *rest: Any) -> Iterator[Any]:
        for step, batch in enumerate(batches(dataset, size, seed, start, *rest), start=start):
            if step == stop_at:
                signal.raise_signal(signal.SIGINT)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "reduce", recorded)
        patch.setattr(train, "train_batches", stopping)
        try:
            train_supernet(run, config, ENGINE, lambda entry: None, world=world)
        except Interrupted:
            losses.append([])
    return losses


def _two(folder: Path) -> None:
    """What each of two processes does for the tests below."""
    torch.set_num_threads(1)
    with join_run("cpu") as world:
        found: dict[str, Any] = {}
        for name in CONFIGS:
            found[name] = _train(Run(folder / f"two-{name}"), _config(folder, name), world)
        config, second = _config(folder, "statistics"), world.rank == 1
        for step in (3, 5):
            found[f"stopped at {step}"] = _train(Run(folder / "again"), config, world, step if second else None)
        found["went on"] = _train(Run(folder / "again"), config, world)
        config = _config(folder, "sandwich")
        found["handed over"] = _train(Run(folder / "handed"), config, world, 5 if second else None)
        (folder / f"rank{world.rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def forking() -> Iterator[None]:
    """Processes of a run are forked, and have no modules to import. Usual ones are in the fixture ``straight``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.training.processes.launch.START", FORK)
        yield


@pytest.fixture(scope="module")
def two(forking: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that two processes trained."""
    folder = tmp_path_factory.mktemp("two")
    write_photos(folder / "photos", count=15)
    net = Supernet(TINY, interface_of(open_dataset(str(folder / "photos")).info))  # frozen statistics must be given
    save_file(
        {name: tensor.contiguous() for name, tensor in net.model.state_dict().items()}, folder / "start.safetensors"
    )
    assert launch(2, partial(_two, folder)) == 0
    return folder


def _found(folder: Path, rank: int = 0) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = json.loads((folder / f"rank{rank}.json").read_text())
    return found


def _close(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> None:
    assert [len(step) for step in ours] == [len(step) for step in theirs]
    np.testing.assert_allclose(np.concatenate(ours), np.concatenate(theirs), rtol=0, atol=1e-5)


def _assert_equal(run: Run, other: Run) -> None:
    ours, theirs = load_tensors(run.supernet)[0], load_tensors(other.supernet)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.freeze_bn])
def test_two_processes_train_as_one(two: Path, tmp_path: Path, name: str) -> None:
    losses = _train(Run(tmp_path / "one"), _config(two, name))
    assert len(losses) == {"sandwich": 12, "attentive": 4, "sorted": 4}[name]
    assert losses[-1] != losses[0]
    _close(_found(two)[name], losses)
    ours, theirs = (load_tensors(Run(path).supernet)[0] for path in (two / f"two-{name}", tmp_path / "one"))
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-3, atol=1e-5)


def test_every_process_knows_the_same_losses(two: Path) -> None:
    assert _found(two, 0) == _found(two, 1)


def test_a_signal_to_one_process_stops_both_and_resuming_is_exact(two: Path) -> None:
    found = _found(two)
    assert found["stopped at 3"] == [*found["statistics"][:4], []]
    assert found["stopped at 5"] == [*found["statistics"][4:6], []]
    assert found["went on"] == found["statistics"][6:]
    _assert_equal(Run(two / "again"), Run(two / "two-statistics"))


def test_one_process_goes_on_where_two_stopped(two: Path) -> None:
    losses = _found(two)["handed over"][:-1] + _train(Run(two / "handed"), _config(two, "sandwich"))
    assert len(losses) == 12
    _close(losses, _found(two)["sandwich"])


# Whole commands


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli"]


def _words(photos: Path, run: Run) -> list[str]:
    return [
        "train-supernet", "--data", str(photos), "--out", str(run.path), "--epochs", "3", "--batch-size", "4",
        "--workers", "0", "--save-seconds", "0", "--quiet",
    ]  # fmt: skip


def _owner(run: Run) -> int:
    """The process that writes."""
    return int((run.path / ".owner").read_text())


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and a run of two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    write_photos(folder / "photos", count=15)
    process = start([*NAS, *_words(folder / "photos", Run(folder / "run")), "--nproc", "2"])
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert out == f"trained: {folder / 'run'}\n"
    return folder


def test_the_death_of_one_process_ends_both_and_says_so(two: Path, tmp_path: Path) -> None:
    _kill_one(Run(tmp_path / "run"), two / "photos")


def _kill_one(run: Run, photos: Path) -> None:
    """Kill the process that writes, once there is a checkpoint."""
    process = Forked(*_words(photos, run), "--nproc", "2")
    wait_for(process, run.checkpoint)
    os.kill(_owner(run), signal.SIGKILL)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1, error
    assert len(error.splitlines()) == 1, error
    assert error.startswith("error: process 0 of 2 was killed (SIGKILL); the last checkpoint is kept")
    assert not run.supernet.exists()


@pytest.mark.long
def test_kill_9_and_resume_by_torchrun(straight: Path, forking: None, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    _kill_one(run, straight / "photos")
    again = start([*TORCHRUN, *_words(straight / "photos", run)])  # its processes are as good as ours
    error = again.communicate(timeout=600)[1]
    assert again.returncode == 0, error
    _assert_equal(run, Run(straight / "run"))


def test_ctrl_c_stops_all_and_says_so_once(two: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    process = Forked(*_words(two / "photos", run), "--nproc", "2")
    wait_for(process, run.checkpoint)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert error.count("To resume: nas train-supernet") == 1, error
    assert process.returncode == 130
    assert len(error.splitlines()) == 1, error
    assert not run.supernet.exists()


def test_an_error_of_all_processes_is_one_line(two: Path) -> None:
    process = Forked(*_words(two / "photos", Run(two / "two-statistics")), "--nproc", "2", "--seed", "5")
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert len(error.splitlines()) == 1, error
    assert "holds a run with other settings" in error


def test_processes_that_cannot_meet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nas.training.processes.launch.SILENCE", __import__("datetime").timedelta(seconds=1))
    with pytest.raises(UserError, match="did not find each other"), join_run("cpu"):
        pass
