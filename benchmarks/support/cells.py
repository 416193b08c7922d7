"""What the experiments on trained networks share: cells that are not run twice, data, trainings of a given budget."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from benchmarks.support.data import data_file
from benchmarks.support.image_folder import write_image_folder
from nas.candidates.calibrate import calibrate
from nas.data.batches import TrainSteps, calibration_images, eval_batches
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Event, Stepped
from nas.store.files import read_json, write_json
from nas.store.run import Run
from nas.supernet.depthwise import speed_up
from nas.tasks.classification import Accuracy, Classification
from nas.training.builders import make_optimizer, make_parts, resolve_augment
from nas.training.config import Resources, TrainConfig, peak_lr, total_steps
from nas.training.rehearsal.rehearsal import Rehearsal, aside
from nas.training.step import resize
from nas.workflows.train import train_supernet
from nas.workflows.trained import Trained, open_trained
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.timm_compat import timm

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SOURCES = ("embedded", "fashion", "cifar10")
ENGINE = Resources(workers=0, save_seconds=60, evaluations=1)


def cell(folder: Path, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of ``work``, kept as a JSON file under its name; a finished one is read, not run again."""
    path = folder / f"{name}.json"
    if not path.exists():
        print(f"{name} ...", file=sys.stderr, flush=True)
        write_json(path, work())
    found: dict[str, Any] = read_json(path)
    return found


def source_of(name: str, folder: Path) -> str:
    """What ``nas train-supernet --data`` takes: ``embedded``, or a folder that is written here once.

    ``fashion``: all of Fashion-MNIST, from Debian's package ``dataset-fashion-mnist``. ``cifar10``: JPEG files.
    Ends the program where the images are not there.
    """
    if name == "embedded":
        return name
    out, done = folder / name, folder / f"{name}.written"
    if not done.exists():
        if name == "cifar10":
            write_image_folder(data_file("images/cifar10_jpeg32.npz"), out)
        else:
            write_fashion(out)
        done.touch()
    return str(out.resolve())


def write_fashion(out: Path, limits: Mapping[str, int] = MappingProxyType({})) -> None:
    """Write Fashion-MNIST as a data folder, of each split the first images as ``limits`` says; ends the program where
    Debian's package is not there."""
    if not FASHION.exists():
        sys.exit(f"{FASHION} is not there: apt-get install dataset-fashion-mnist, or take other images")
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = _idx(f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(f"{stem}-labels-idx1-ubyte.gz", 8)
        for name in CLASSES:
            (out / split / name).mkdir(parents=True, exist_ok=True)
        for i, (image, label) in enumerate(islice(zip(images, labels, strict=True), limits.get(split))):
            Image.fromarray(image).save(out / split / CLASSES[int(label)] / f"{i:05d}.png", compress_level=1)


def _idx(name: str, header: int) -> Any:
    with gzip.open(FASHION / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


@lru_cache(1)
def _opened(source: str, seed: int) -> Dataset:
    return open_dataset(source, seed)


@lru_cache(1)
def _steps(config: TrainConfig) -> TrainSteps:
    """Batches by step, as the trainer sees them; images that fit into memory are decoded once."""
    dataset = _opened(config.source, config.seed)
    side = get_space(config.space).largest.resolution
    augment = resolve_augment(config, dataset.info)
    return TrainSteps(dataset, config.batch_size, config.seed, side, augment, config.erasing, parts=make_parts(config))


def seconds_per_step(config: TrainConfig, dataset: Dataset, probes: int = 16) -> float:
    """Processor time of a training step, averaged over steps spread over the run: a strategy's phases differ."""
    config = replace(config, epochs=_epochs(config, dataset, 1000))
    spent = []
    with aside():
        rehearsal = Rehearsal(config, dataset, ENGINE)
        batches = rehearsal.batches(probes + 2)
        for i in range(probes + 2):
            position = max(0, i - 2) * 1000 // probes
            began = time.process_time()
            rehearsal.step(position, next(batches))
            spent.append(time.process_time() - began)
    return float(np.mean(spent[2:]))


def _epochs(config: TrainConfig, dataset: Dataset, steps: int) -> float:
    return steps / max(1, dataset.info.counts["train"] // config.batch_size)


def trained_supernet(
    folder: Path, config: TrainConfig, seconds: float, architectures: dict[str, Architecture], steps: int = 0
) -> dict[str, Any]:
    """Train a supernet for so much processor time and measure subnets of it, calibrated, on the search and test splits.

    An interrupted training continues from its checkpoint. ``config.epochs`` is not used: how many steps fit is found
    from a few of them and kept, so that a resumed training has as many; or ``steps`` says it.
    """
    dataset = _opened(config.source, config.seed)
    plan = folder / "plan.json"
    resumed = plan.exists()
    if not resumed:
        step = 0.0 if steps else seconds_per_step(config, dataset)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(plan, {"steps": steps or max(20, round(seconds / step)), "seconds_per_step": step})
    planned = read_json(plan)
    config = replace(config, epochs=_epochs(config, dataset, planned["steps"]))
    began = time.process_time()
    train_supernet(Run(folder / "run"), config, ENGINE, _say)
    spent = time.process_time() - began
    done = open_trained(Run(folder / "run"))
    return {
        "steps": total_steps(config, dataset.info.counts["train"]),
        "seconds": None if resumed else spent,
        "accuracy": {name: measured(done, a).value for name, a in architectures.items()},
        "config": asdict(config),
    }


def _say(event: Event) -> None:
    if isinstance(event, Stepped) and event.step % 500 == 0:
        print(f"  step {event.step}/{event.steps}, loss {event.loss:.3f}", file=sys.stderr, flush=True)


def trained_alone(
    space: SearchSpace, architecture: Architecture, config: TrainConfig, steps: int = 0, seconds: float = 0.0
) -> dict[str, Any]:
    """Train one network by itself, with the trainer's recipe and batches, for ``steps`` or for so many ``seconds``.

    It is measured like a subnet, with calibrated batch norm, which in a short training is worth points here too.
    """
    dataset = _opened(config.source, config.seed)
    info, side = dataset.info, architecture.resolution
    torch.manual_seed(config.seed)
    model = space.build(architecture, Interface(info.in_chans, len(info.classes)))
    model, steps, spent = train_model(model, side, config, steps, seconds)
    found = [
        Classification().score(model, eval_batches(dataset, split, side, 256), "cpu") for split in ("search", "test")
    ]
    value = sum(f.correct for f in found) / sum(f.images for f in found)
    return {"steps": steps, "seconds": spent, "accuracy": value, "architecture": json.loads(architecture.to_json())}


def train_model(
    model: nn.Module, side: int, config: TrainConfig, steps: int = 0, seconds: float = 0.0
) -> tuple[nn.Module, int, float]:
    """Train any network on images of a side as the trainer does, and calibrate it; with its steps and seconds."""
    dataset, peak = _opened(config.source, config.seed), peak_lr(config)
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    speed_up(model)

    optimizer, loaded = make_optimizer(config, model), _steps(config)

    def run(first: int, count: int, total: int) -> float:
        warm = max(1, round(total * config.warmup))
        scheduler, _ = timm.scheduler.create_scheduler_v2(
            optimizer, config.schedule, num_epochs=total, min_lr=0.01 * peak, warmup_epochs=warm,
            warmup_lr=peak / warm, step_on_epochs=False, updates_per_epoch=1, cooldown_epochs=0,
        )  # fmt: skip
        began = time.process_time()
        for step in range(first, first + count):
            found = loaded[step]
            assert isinstance(found, tuple)
            images, labels = found
            scheduler.step_update(step)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(resize(images, side)), labels, label_smoothing=config.label_smoothing).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
        return time.process_time() - began

    if not steps:
        first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        run(0, 3, 10_000)
        steps = max(5, round(seconds / (run(3, 12, 10_000) / 12)))
        model.load_state_dict(first)
        optimizer = make_optimizer(config, model)
    spent = run(0, steps, steps)
    calibrate(model, calibration_images(dataset, side))
    return model, steps, spent


def middle(space: SearchSpace) -> Architecture:
    """The upper median of every gene's choices."""
    return space.decode(space.cardinality // 2)


def measured(trained: Trained, architecture: Architecture) -> Accuracy:
    """Of the calibrated subnet, in fp32, on the search and test splits together."""
    model, side = trained.net.extract(architecture), architecture.resolution
    calibrate(model, calibration_images(trained.dataset, side))
    found = [
        Classification().score(model, eval_batches(trained.dataset, s, side, 256), "cpu") for s in ("search", "test")
    ]
    return Accuracy(sum(f.correct for f in found), sum(f.images for f in found))


def family(space: SearchSpace, randoms: int, seed: int) -> dict[str, Architecture]:
    """The smallest, middle and largest architecture and some random ones, by name."""
    drawn = space.sample(np.random.default_rng([seed, 7]), randoms)
    named = {"smallest": space.smallest, "middle": middle(space), "largest": space.largest}
    return named | {f"random{i}": space.decode(vector) for i, vector in enumerate(drawn)}


def summary(accuracies: dict[str, float]) -> dict[str, float]:
    """Accuracy, %, of the named architectures, and the mean of the random ones."""
    randoms = [value for name, value in accuracies.items() if name.startswith("random")]
    named = {name: 100 * accuracies[name] for name in ("smallest", "middle", "largest")}
    return named | ({"random": 100 * float(np.mean(randoms))} if randoms else {})
