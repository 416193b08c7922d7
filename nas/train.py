"""The training loop: linear, visible, resumable.

Every random choice of step k (images, augmentation, architectures, dropout) comes from generators seeded with
(seed, k), so stopping and resuming gives the weights of not stopping, bit for bit on the same machine.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces import get_space
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.timm_compat import timm

from . import checkpoint, data
from .calibrate import calibrate
from .evaluate import accuracy
from .files import atomic_write, save_tensors
from .pretrained import check_start, start_from
from .run import Run
from .step import Batch, loss_without_gradient, run_passes
from .strategies import STRATEGIES, Setting, get_strategy
from .supernet import Supernet

Report = Callable[[dict[str, Any]], None]

SCHEDULES = ("cosine", "poly")
_SHORT_RUN = 50  # epochs


class Interrupted(Exception):
    """Training was asked to stop; the state is saved."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the trained weights.

    Attributes:
        space: name of the search space.
        source, root: data set, as in :func:`nas.data.open_dataset`.
        seed: of everything random.
        strategy: name in :data:`nas.strategies.STRATEGIES`.
        epochs: passes over the training split.
        batch_size: images a step.
        optimizer: timm's name.
        lr: peak learning rate, reached after ``warmup`` (share of all steps).
        schedule: timm's name of the schedule after that, ``cosine`` or ``poly``; it ends at 1 % of ``lr``.
        momentum, weight_decay: none of the latter on norms and biases.
        label_smoothing: of the cross-entropy.
        clip_norm: gradient norm limit.
        ema: decay of the weight average that becomes the supernet; 0: none.
        augment: as in :func:`nas.data.train_batches`; ``auto`` leaves small images as they are in short runs.
        pretrained, init: first weights: timm's own, or a file of them, as in :func:`nas.pretrained.load_weights`.
    """

    space: str = "mbv3-tiny"
    source: str = "embedded"
    root: str | None = None
    seed: int = 0
    strategy: str = "random"
    epochs: float = 24
    batch_size: int = 64
    optimizer: str = "nesterov"
    lr: float = 0.1
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    warmup: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    ema: float = 0.0
    augment: str = "auto"
    pretrained: bool = False
    init: str | None = None


@dataclass(frozen=True)
class Engine:
    """How to run, without influence on what is computed (but for rounding).

    Attributes:
        device: ``cpu`` or ``cuda``.
        workers: processes that decode and augment images.
        save_seconds: time between checkpoints.
        evaluations: how often in a run the smallest and the largest subnet are evaluated.
    """

    device: str = "cpu"
    workers: int = 1
    save_seconds: float = 30.0
    evaluations: int = 10


def train(run: Run, config: TrainConfig, dataset: data.Dataset, engine: Engine, report: Report) -> None:
    """Train, or go on training, the supernet of a run; writes ``supernet.safetensors`` at the end.

    Args:
        run: directory, locked by the caller.
        report: called with every line that also goes to ``metrics.jsonl``.

    Raises:
        Interrupted: SIGINT or SIGTERM; the state is saved.
        UserError: the loss is not finite, or a checkpoint cannot be read.
    """
    space = get_space(config.space)
    net = Supernet(space, len(dataset.info.classes), dataset.info.in_chans, config.seed)
    net.to(engine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = timm.optim.create_optimizer_v2(
        net.model, opt=config.optimizer, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    steps = total_steps(config, dataset.info.counts["train"])
    scheduler = _schedule(config, optimizer, steps)
    average: dict[str, Tensor] = {}
    state, warning = checkpoint.load(run)
    if warning:
        report({"warning": warning})
    if state is not None:
        net.model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        average = {name: tensor.to(engine.device) for name, tensor in state.average.items()}
    else:
        start_from(net, config.pretrained, config.init)
        if config.ema:
            average = {name: tensor.detach().clone() for name, tensor in net.model.state_dict().items()}
    start, spent = (state.step, state.seconds) if state else (0, 0.0)
    log = _Log(run, start, report)
    strategy = get_strategy(config.strategy, setting(config, dataset.info))
    evaluate_at = {round(steps * (i + 1) / engine.evaluations) for i in range(engine.evaluations)} - {0}
    began = saved = time.monotonic()

    def save(step: int) -> None:
        checkpoint.save(run, checkpoint.capture(step, net.model, optimizer, average, spent + time.monotonic() - began))

    batches = data.train_batches(
        dataset, config.batch_size, config.seed, start, steps - start, space.largest.resolution,
        resolve_augment(config, dataset.info), engine.workers,
    )  # fmt: skip
    with _stop_requested() as stop:
        for step, (images, labels) in enumerate(batches, start=start):
            batch = Batch(images.to(engine.device), labels.to(engine.device))
            torch.manual_seed(_seed(config.seed, step))
            scheduler.step_update(step)
            optimizer.zero_grad(set_to_none=True)
            loss_of = partial(loss_without_gradient, net, batch, config.label_smoothing)
            passes = strategy.passes(step, _generator(config.seed, step), loss_of)
            losses = run_passes(net, passes, batch, config.label_smoothing)
            loss = sum(losses) / len(losses)
            if not math.isfinite(loss):
                raise UserError(f"the loss is {loss} at step {step}; the last good state is kept. Try a lower --lr")
            nn.utils.clip_grad_norm_([p for p in net.model.parameters() if p.grad is not None], config.clip_norm)
            optimizer.step()
            _update_average(average, net.model, config.ema)
            done = step + 1
            if done % 20 == 0 or done == steps:
                speed = (done - start) / (time.monotonic() - began)
                epoch = round(config.epochs * done / steps, 2)
                eta = round((steps - done) / speed)
                log.write({"step": done, "steps": steps, "epoch": epoch, "loss": round(loss, 4), "eta_s": eta})
            if done in evaluate_at:
                log.write({"step": done, "steps": steps} | _evaluate(net, average, dataset))
            if stop():
                save(done)
                raise Interrupted
            if time.monotonic() - saved > engine.save_seconds or done == steps:
                save(done)
                saved = time.monotonic()
    _finish(run, net, average, config, dataset, steps)


def check_settings(config: TrainConfig) -> None:
    """Refuse settings that cannot train, before anything is read or written.

    Raises:
        UsageError: names the setting and the rule.
    """
    if config.strategy not in STRATEGIES:
        raise unknown_name("strategy", config.strategy, STRATEGIES)
    check_start(get_space(config.space), config.pretrained, config.init)
    for kind, name, known in (
        ("optimizer", config.optimizer, timm.optim.list_optimizers()),
        ("schedule", config.schedule, SCHEDULES),
        ("augmentation", config.augment, data.AUGMENTS),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    for name, value in asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name.replace('_', '-')} is {value}; it must be a finite number")
    for name in ("epochs", "lr", "clip_norm"):
        if getattr(config, name) <= 0:
            raise UsageError(
                f"{name.replace('_', '-')} is {getattr(config, name)}; nothing would be trained, give more than 0"
            )


def setting(config: TrainConfig, info: data.DataInfo) -> Setting:
    """What the strategy of a run may know."""
    space, classes = get_space(config.space), len(info.classes)

    def initial() -> Supernet:
        net = Supernet(space, classes, info.in_chans, config.seed)
        start_from(net, config.pretrained, config.init)
        return net

    return Setting(space, total_steps(config, info.counts["train"]), classes, info.in_chans, config.seed, initial)


def total_steps(config: TrainConfig, images: int) -> int:
    """Optimizer steps of a whole run; at least one."""
    return max(1, round(config.epochs * max(1, images // config.batch_size)))


def resolve_augment(config: TrainConfig, info: data.DataInfo) -> str:
    """What ``auto`` means: a short run on small images underfits, and shifts and flips only slow it down (they cost
    3 points in 14 epochs of the embedded data set)."""
    if config.augment == "auto" and info.native_size <= data.SMALL_SIDE and config.epochs < _SHORT_RUN:
        return "none"
    return config.augment


def _schedule(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """timm's schedule by step: linear warm-up, then down to 1 % of the peak. It depends on the step alone."""
    warm = max(1, round(steps * config.warmup))
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer, config.schedule, num_epochs=steps, min_lr=0.01 * config.lr, warmup_epochs=warm,
        warmup_lr=config.lr / warm, step_on_epochs=False, updates_per_epoch=1, cooldown_epochs=0,
    )  # fmt: skip
    return scheduler


def load_supernet(run: Run, device: str = "cpu") -> Supernet:
    """The trained supernet of a run.

    Raises:
        UserError: not trained to the end yet, or damaged.
    """
    from .files import load_tensors

    content = run.read()
    if not run.supernet.exists():
        raise UserError(f"{run.path} is not trained to the end; go on: nas train-supernet --out {run.path}")
    try:
        tensors, _ = load_tensors(run.supernet)
    except UserError as error:
        raise UserError(f"{error}; the nas train-supernet command of this run writes it again") from None
    info = data.DataInfo.from_dict(content["data"])
    net = Supernet(get_space(content["config"]["space"]), len(info.classes), info.in_chans)
    try:
        net.model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{run.supernet} does not hold the weights of {content['config']['space']}: {error}") from None
    return net.to(device).eval()


def _generator(seed: int, step: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1, step])


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    if average:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)


def _evaluate(net: Supernet, average: dict[str, Tensor], dataset: data.Dataset) -> dict[str, float]:
    """Accuracy of the calibrated smallest and largest subnet on part of the search split, in fp32."""
    trained = net.model.state_dict()
    kept = {name: tensor.clone() for name, tensor in trained.items()} if average else {}
    if average:
        net.model.load_state_dict(average)
    found = {}
    for name, architecture in (("smallest", net.space.smallest), ("largest", net.space.largest)):
        device = next(net.parameters()).device
        subnet = net.extract(architecture).to(device)
        calibrate(subnet, data.calibration_images(dataset, architecture.resolution).to(device))
        batches = data.eval_batches(dataset, "search", architecture.resolution, 256, 1000)
        found[name] = round(accuracy(subnet, batches, device).value, 4)
    if kept:
        net.model.load_state_dict(kept)
    return found


def _finish(
    run: Run, net: Supernet, average: dict[str, Tensor], config: TrainConfig, dataset: data.Dataset, steps: int
) -> None:
    tensors = average or net.model.state_dict()
    metadata = {"config": asdict(config), "data": dataset.info.to_dict(), "steps": steps}
    save_tensors(run.supernet, tensors, metadata)


class _Log:
    """``metrics.jsonl``, cut back to the step that training goes on from."""

    def __init__(self, run: Run, start: int, report: Report) -> None:
        self.path = run.metrics
        self.report = report
        lines = []
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # a line cut short by a crash
                if entry.get("step", 0) <= start:
                    lines.append(json.dumps(entry) + "\n")
        atomic_write(self.path, "".join(lines).encode())

    def write(self, entry: dict[str, Any]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self.report(entry)


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question asked between steps; a second one stops at once."""
    asked = []

    def handler(number: int, _frame: Any) -> None:
        asked.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handler)
    try:
        yield lambda: bool(asked)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
