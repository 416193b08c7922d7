"""The training loop: linear, visible, resumable.

Every random choice of step k (images, augmentation, architectures, dropout) comes from generators seeded with
(seed, k), so stopping and resuming gives the weights of not stopping, bit for bit on the same machine.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces import Architecture, get_space
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.timm_compat import timm

from . import checkpoint, data
from .calibrate import calibrate
from .distributed import ALONE, World
from .evaluate import accuracy
from .files import save_tensors
from .guards import Guard, check_finite, check_guards, constant_loss, zero_gamma
from .loggers import Metrics
from .losses import Objective
from .mixing import check_mixing
from .precision import AMP, Precision
from .pretrained import check_start, start_from
from .run import Run
from .step import Batch, check_accumulate, loss_without_gradient, mixed, run_passes, update
from .strategies import STRATEGIES, Setting, get_strategy
from .supernet import Supernet
from .task import Task, whole_space
from .teacher import answers_of

Report = Callable[[dict[str, Any]], None]

SCHEDULES = ("cosine", "poly")
_SHORT_RUN = 50  # epochs
EVALUATED = 1000
"""Images of an evaluation during training."""


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
        clip_value: limit of each gradient entry, applied before; 0: none. AlphaNet needs 1.
        distill: what students learn from the teacher among a step's subnets, of :data:`nas.losses.DISTILL`.
        teacher: a fixed teacher, as in :func:`nas.teacher_open.open_teacher`.
        teacher_weight, teacher_temperature: as in :class:`nas.losses.Objective`.
        dropout, drop_path: of the largest subnet alone, as in :class:`nas.losses.Objective`.
        freeze_bn: batch norms keep their running statistics, and normalise with them: for good first weights.
        ema: decay of the weight average that becomes the supernet; 0: none.
        augment: as in :func:`nas.data.train_batches`; ``auto`` leaves small images as they are in short runs.
        erasing: probability of random erasing; None: as ``augment`` has it.
        mixup, cutmix: as in :func:`nas.mixing.mix`; 0: none.
        amp: type that passes compute in: ``off`` (fp32), ``bf16`` or ``fp16``.
        accumulate: micro-batches of a pass, as in :func:`nas.step.run_passes`.
        lr_auto: find ``lr`` with :func:`nas.lr_finder.find_lr`.
        base_batch: batch size that ``lr`` was given for: it is scaled linearly to the run's; 0: it is the run's own.
        zero_gamma: residual blocks start as the identity, as in :func:`nas.guards.zero_gamma`.
        rollbacks: how often a collapsed run goes back, as in :class:`nas.guards.Guard`; 0: it is not watched.
        pretrained, init: first weights: timm's own, or a file of them, as in :func:`nas.pretrained.load_weights`.
    """

    space: str = "mbv3-tiny"
    source: str = "embedded"
    root: str | None = None
    seed: int = 0
    strategy: str = "auto"
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
    clip_value: float = 0.0
    distill: str = "soft"
    teacher: str | None = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 1.0
    dropout: float = 0.0
    drop_path: float = 0.0
    freeze_bn: bool = False
    ema: float = 0.0
    augment: str = "auto"
    erasing: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    amp: str = "off"
    accumulate: int = 1
    lr_auto: bool = False
    base_batch: int = 0
    zero_gamma: bool = False
    rollbacks: int = 3
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
        log: names in :data:`nas.loggers.LOGGERS` that the metrics go to besides.
    """

    device: str = "cpu"
    workers: int = 1
    save_seconds: float = 30.0
    evaluations: int = 10
    log: tuple[str, ...] = ()


def train(
    run: Run, config: TrainConfig, dataset: data.Dataset, engine: Engine, report: Report, task: Task | None = None,
    world: World = ALONE,
) -> None:  # fmt: skip
    """Train, or go on training, the supernet of a run; writes ``supernet.safetensors`` at the end.

    Args:
        run: directory, locked by the caller.
        report: called with every line that also goes to ``metrics.jsonl``.
        task: what to train; None: the whole space by the strategy of ``config``.
        world: the processes that train it together; process 0 alone writes and reports.

    Raises:
        Interrupted: SIGINT or SIGTERM; the state is saved.
        UserError: the loss is not finite, training collapsed too often, or a checkpoint cannot be read.
    """
    while not _until_collapse(run, config, dataset, engine, report, task, world):
        pass  # its last good state is its checkpoint now: it goes on as a run that was stopped there


def _until_collapse(
    run: Run, config: TrainConfig, dataset: data.Dataset, engine: Engine, report: Report, task: Task | None,
    world: World,
) -> bool:  # fmt: skip
    """Train to the end, which is True, or until the run collapses and goes back."""
    space = get_space(config.space)
    net = Supernet(space, len(dataset.info.classes), dataset.info.in_chans, config.seed)
    net.frozen_statistics = config.freeze_bn
    net.to(engine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_of(config, net)
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
        if config.zero_gamma and not zero_gamma(net.model):
            report({"warning": f"--zero-gamma: no residual block of {config.space} ends in a batch norm"})
        if config.ema:
            average = {name: tensor.detach().clone() for name, tensor in net.model.state_dict().items()}
    objective = objective_of(config)
    with world.main_first():
        answers = answers_of(run, config.teacher, config.teacher_temperature, dataset, engine.device, report)
    precision = Precision(config.amp, engine.device)
    precision.load(state.scaler if state else {})
    start, spent = (state.step, state.seconds) if state else (0, 0.0)
    world.start_alike(net.model, start)
    write = Metrics(run.metrics, start, report).write if world.main else lambda entry: None
    task = task or whole_space(space, get_strategy(config.strategy, setting(config, dataset.info)))
    constant = constant_loss(
        dataset.labels[dataset.splits["train"]], len(dataset.info.classes), objective, config.teacher is not None
    )
    guard = Guard(constant, config.rollbacks, steps, state.health if state else {})
    evaluate_at = {round(steps * (i + 1) / engine.evaluations) for i in range(engine.evaluations)} - {0}
    began = saved = time.monotonic()

    def save(step: int, to: Callable[[Run, checkpoint.State], None] = checkpoint.save) -> None:
        if world.main:
            seconds = spent + time.monotonic() - began
            numbers = precision.state(), guard.state()
            to(run, checkpoint.capture(step, net.model, optimizer, average, seconds, *numbers))

    if config.rollbacks and (state is None or not run.good.exists()):
        save(start, checkpoint.save_good)
    rows = world.rows(config.batch_size, bool(config.mixup or config.cutmix))
    batches = data.train_batches(
        dataset, config.batch_size, config.seed, start, steps - start, task.resolution,
        resolve_augment(config, dataset.info), engine.workers, engine.device != "cpu", config.erasing,
        rows,
    )  # fmt: skip
    with _stop_requested() as stop:
        for step, (images, labels) in enumerate(batches, start=start):
            taught = answers.batch(config.batch_size, config.seed, step)[rows].to(engine.device) if answers else None
            batch = Batch(images.to(engine.device), labels.to(engine.device), taught)
            batch = mixed(batch, config.mixup, config.cutmix, len(dataset.info.classes), config.seed, step)
            batch = world.own(batch, config.batch_size)
            torch.manual_seed(torch_seed(config.seed, step, world.rank))
            scheduler.step_update(step)
            guard.slow(optimizer)
            optimizer.zero_grad(set_to_none=True)
            loss_of = partial(loss_without_gradient, net, batch, config.label_smoothing, precision=precision)
            passes = task.strategy.passes(step, generator(config.seed, step), world.averaged(loss_of, batch.share))
            own = run_passes(net, passes, batch, objective, precision, config.accumulate)
            losses = world.reduce(net.model, own)
            loss = sum(losses) / len(losses)
            check_finite(passes, losses, step)
            update(net, optimizer, config.clip_value, config.clip_norm, precision)
            _update_average(average, net.model, config.ema)
            done = step + 1
            guard.see(passes, losses)
            if guard.collapsed:
                report({"warning": guard.roll_back(run, done, world.main)})
                if world.any(stop())[0]:
                    raise Interrupted
                return False
            if guard.keeps(done):
                save(done, checkpoint.save_good)
            if done % 20 == 0 or done == steps:
                speed = (done - start) / (time.monotonic() - began)
                epoch = round(config.epochs * done / steps, 2)
                eta = round((steps - done) / speed)
                line = {"step": done, "steps": steps, "epoch": epoch, "loss": round(loss, 4), "eta_s": eta}
                write(line | guard.metrics())
            if done in evaluate_at:
                if world.main:
                    write({"step": done, "steps": steps} | _evaluate(net, average, dataset, task.watched))
                world.wait()
            stopping, due = world.any(stop(), time.monotonic() - saved > engine.save_seconds or done == steps)
            if stopping:
                save(done)
                world.wait()  # who ends early may get the others killed
                raise Interrupted
            if due:
                save(done)
                saved = time.monotonic()
    if world.main:
        _finish(run, net, average, config, dataset, steps)
        run.good.unlink(missing_ok=True)
    return True


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
        ("amp", config.amp, AMP),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    for name, value in asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name.replace('_', '-')} is {value}; it must be a finite number")
    check_mixing(config.mixup, config.cutmix, config.erasing, config.batch_size)
    check_accumulate(config.accumulate, config.batch_size)
    objective_of(config).check()
    if config.clip_value < 0:
        raise UsageError(f"clip-value is {config.clip_value}; it limits gradients, give more than 0, or 0 for none")
    if config.teacher is None and (config.teacher_weight, config.teacher_temperature) != (0.5, 1.0):
        raise UsageError("--teacher-weight and --teacher-temperature say how to learn from a teacher; give --teacher")
    check_guards(config.zero_gamma, config.pretrained or config.init is not None, config.rollbacks)
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
        net.frozen_statistics = config.freeze_bn
        start_from(net, config.pretrained, config.init)
        return net

    steps = total_steps(config, info.counts["train"])
    return Setting(space, steps, classes, info.in_chans, config.seed, initial, config.batch_size)


def optimizer_of(config: TrainConfig, net: Supernet) -> torch.optim.Optimizer:
    """timm's optimizer of all weights; norms and biases do not decay."""
    made: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        net.model, opt=config.optimizer, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    return made


def objective_of(config: TrainConfig) -> Objective:
    """What the passes of a run learn."""
    return Objective(
        config.label_smoothing, config.distill, config.teacher_weight, config.teacher_temperature,
        drop=(config.dropout, config.drop_path),
    )  # fmt: skip


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


def generator(seed: int, step: int) -> np.random.Generator:
    """Of a step's choice of subnets."""
    return np.random.default_rng([seed, 1, step])


def torch_seed(seed: int, step: int, rank: int = 0) -> int:
    """Of what torch draws within a step on a process, such as dropout."""
    return int(np.random.SeedSequence([seed, 2, step, *([rank] if rank else [])]).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    if average:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)


def _evaluate(
    net: Supernet, average: dict[str, Tensor], dataset: data.Dataset, watched: Mapping[str, Architecture]
) -> dict[str, float]:
    """Accuracy of the calibrated ``watched`` subnets on part of the search split, in fp32."""
    trained = net.model.state_dict()
    kept = {name: tensor.clone() for name, tensor in trained.items()} if average else {}
    if average:
        net.model.load_state_dict(average)
    found = {}
    for name, architecture in watched.items():
        device = next(net.parameters()).device
        subnet = net.extract(architecture).to(device)
        calibrate(subnet, data.calibration_images(dataset, architecture.resolution).to(device))
        batches = data.eval_batches(dataset, "search", architecture.resolution, 256, EVALUATED)
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
