"""The training loop: linear, visible, resumable.

Every random choice of step k (images, augmentation, architectures, dropout) comes from generators seeded with
(seed, k), so stopping and resuming gives the weights of not stopping, bit for bit on the same machine.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.events import Evaluated, Listener, Noted, Stepped, Warned, ignore
from nas.store.metrics import Metrics
from nas.store.run import Run
from nas.store.seeds import stream
from nas.supernet.first_weights import start_from, zero_gamma
from nas.training.processes.world import ALONE, World
from nas.training.teacher.answers import Answers, answers_of
from search_spaces import Architecture, get_space

from . import checkpoint
from .adaptation import adapted_filters, hand_over
from .amp import Amp
from .builders import (
    make_facts,
    make_loss,
    make_optimizer,
    make_parts,
    make_phase,
    make_schedule,
    make_supernet,
    resolve_augment,
)
from .collapse import Guard
from .config import Resources, TrainConfig, count_epochs, for_subnets, total_steps
from .head import fit_head
from .quantized import start_clips
from .step import (
    StepInput,
    check_finite,
    check_norm,
    check_weights,
    loss_without_gradient,
    mix_batch,
    run_passes,
    torch_seed,
    update,
)
from .strategies.base import Strategy
from .strategies.table import get_strategy
from .strategies.teacher_first import TeacherFirst
from .weights import evaluate_watched, pick_watched, save_trained


@dataclass(frozen=True)
class Curriculum:
    """What the training loop must know beside its settings.

    Attributes:
        strategy: chooses the passes of a step.
        watched: subnets that are evaluated on the way, by their name in the metrics.
        resolution: side of the images of a batch in pixels; passes at a smaller one shrink them.
    """

    strategy: Strategy
    watched: Mapping[str, Architecture]
    resolution: int


class Interrupted(Exception):
    """Training was asked to stop; the state is saved."""


def train(
    run: Run, config: TrainConfig, dataset: Dataset, resources: Resources, report: Listener,
    curriculum: Curriculum | None = None, world: World = ALONE,
) -> None:  # fmt: skip
    """Train the supernet of a run, from its last checkpoint where there is one.

    At the end it writes ``supernet.safetensors``.

    Args:
        run: locked by the caller.
        report: called with every line that also goes to ``metrics.jsonl``.
        curriculum: what to train; None: the whole space by the strategy of ``config``.
        world: the processes that train it together; process 0 alone writes and reports.

    Raises:
        Interrupted: SIGINT or SIGTERM; the state is saved.
        UserError: losses, gradients or weights are not finite, training collapsed too often, or a checkpoint cannot
            be read.
    """
    while not _until_collapse(run, config, dataset, resources, report, curriculum, world):
        pass  # its last good state is its checkpoint now: it continues as a run that was stopped there


def _until_collapse(
    run: Run, config: TrainConfig, dataset: Dataset, resources: Resources, report: Listener,
    curriculum: Curriculum | None, world: World,
) -> bool:  # fmt: skip
    """Train to the end, which is True, or until the run collapses and goes back."""
    space = get_space(config.space)
    if curriculum is None:
        strategy = get_strategy(config.strategy, make_facts(config, dataset.info))
        curriculum = Curriculum(strategy, pick_watched(space, config.seed), space.largest.resolution)
    net = make_supernet(config, dataset.info)
    net.to(resources.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = total_steps(config, dataset.info.train_images)
    average: dict[str, Tensor] = {}
    state, warning = checkpoint.load(run)
    if warning:
        report(Warned(warning))
    start, spent = (state.step, state.seconds) if state else (0, 0.0)
    # subnets begin at `begin`, with rates of their own; a run that stopped at this very step hands over again
    begin = curriculum.strategy.begin if isinstance(curriculum.strategy, TeacherFirst) else 0
    taught = 0 < begin < start
    first, last = (begin, steps) if taught else (0, begin or steps)
    now = for_subnets(config, adapted_filters(run)) if taught else config
    optimizer = make_optimizer(now, net.model)
    scheduler = make_schedule(now, optimizer, last - first)
    if state is not None:
        checkpoint.restore(run, state, net.model, optimizer, steps)
        report(Noted(f"resumed at step {state.step}"))
        average = {name: tensor.to(resources.device) for name, tensor in state.average.items()}
    else:
        start_from(net, config.pretrained, config.init)
        if config.starts_from_weights and world.main:
            fit_head(net, dataset, config.label_smoothing, report)
        if config.zero_gamma and not zero_gamma(net.model):
            report(Warned(f"`zero_gamma`: no residual block of {config.space} ends in a batch norm"))
        if config.ema:
            average = {name: tensor.detach().clone() for name, tensor in net.model.state_dict().items()}
    task, loss_settings, outputs = dataset.task, make_loss(now), dataset.interface.outputs
    amp = Amp(config.amp, resources.device)
    if state and state.scaler:
        amp.scaler.load_state_dict(dict(state.scaler))
    world.start_alike(net.model, start)
    write = Metrics(run.metrics, start, report).write if world.main else ignore
    phase = make_phase(config, steps, begin)
    trained_labels = dataset.labels[dataset.train]

    def ask_teacher(taught: bool) -> tuple[Answers | None, float | None]:
        """The fixed teacher's answers, and the loss of the best constant answer; ``taught``: by the adapted whole."""
        name = str(run.adapted) if taught and config.teacher is None else config.teacher
        with world.main_first():
            answers = answers_of(run, name, config.teacher_temperature, dataset, resources.device, report)
        return answers, task.constant_loss(trained_labels, outputs, loss_settings, name is not None)

    answers, constant = ask_teacher(taught)
    guard = Guard(constant, config.rollbacks, steps, state.health if state else {})
    evaluate_at = {round(steps * (i + 1) / resources.evaluations) for i in range(resources.evaluations)} - {0}
    began = saved = time.monotonic()

    def save(step: int, to: Callable[[Run, checkpoint.State], None] = checkpoint.save) -> None:
        if world.main:
            check_weights([*net.model.state_dict().values(), *average.values()], step)
            seconds = spent + time.monotonic() - began
            numbers = amp.scaler.state_dict(), guard.state()
            to(run, checkpoint.capture(step, net.model, optimizer, average, seconds, *numbers))

    if config.rollbacks and (state is None or not run.good.exists()):
        save(start, checkpoint.save_good)
    rows = world.rows(config.batch_size, bool(config.mixup or config.cutmix))
    batches = train_batches(
        dataset, config.batch_size, config.seed, start, steps - start, curriculum.resolution,
        resolve_augment(config, dataset.info), resources.workers, resources.device != "cpu", config.erasing,
        rows, make_parts(config),
    )  # fmt: skip
    with _stop_requested() as stop:
        for step, (images, labels) in enumerate(batches, start=start):
            if step == begin > 0:
                guard = Guard(constant, config.rollbacks, steps, guard.restarted())
                if config.rollbacks:
                    save(step, checkpoint.save_good)
                hand_over(net, average, run, config, dataset, world, step, report)
                now = for_subnets(config, adapted_filters(run))
                loss_settings = make_loss(now)
                answers, constant = ask_teacher(True)
                guard = Guard(constant, config.rollbacks, steps, guard.state())
                optimizer = make_optimizer(now, net.model)
                first, scheduler = begin, make_schedule(now, optimizer, steps - begin)
            says = answers.batch(config.batch_size, config.seed, step)[rows].to(resources.device) if answers else None
            batch = StepInput(images.to(resources.device), labels.to(resources.device), says)
            batch = mix_batch(batch, task, outputs, config.mixup, config.cutmix, config.seed, step)
            batch = world.own(batch, config.batch_size)
            torch.manual_seed(torch_seed(config.seed, step, world.rank))
            if step == phase.begin:
                start_clips(net.model, average)
            scheduler.step_update(step - first)
            guard.slow(optimizer)
            optimizer.zero_grad(set_to_none=True)
            probe = partial(loss_without_gradient, net, batch, task, loss_settings, amp=amp)
            passes = curriculum.strategy.passes(
                step, stream(config.seed, "train.subnets", step), world.averaged(probe, batch.share)
            )
            own = run_passes(net, phase.of(passes, step), batch, task, loss_settings, amp, config.accumulate)
            losses = world.reduce(net.model, own)
            loss = sum(losses) / len(losses)
            check_finite(passes, losses, step)
            norm = update(net, optimizer, config.clip_value, config.clip_norm, amp)
            if not amp.scaler.is_enabled():
                check_norm(passes, norm, step)
            _update_average(average, net.model, config.ema)
            done = step + 1
            guard.see(passes, losses)
            if guard.health.collapsed:
                report(Warned(guard.roll_back(run, done, world.main)))
                if world.any(stop())[0]:
                    raise Interrupted
                return False
            if guard.keeps(done):
                save(done, checkpoint.save_good)
            if done % 20 == 0 or done == steps:
                speed = (done - start) / (time.monotonic() - began)
                epoch = round(count_epochs(config, dataset.info.train_images) * done / steps, 2)
                eta = round((steps - done) / speed)
                write(Stepped(done, round(loss, 4), steps, epoch, eta, *guard.setbacks()))
            if done in evaluate_at:
                if world.main:
                    write(Evaluated(done, evaluate_watched(net, average, dataset, curriculum.watched), steps))
                world.wait()
            stopping, due = world.any(
                stop(), time.monotonic() - saved > resources.save_seconds or done in (begin, steps)
            )
            if stopping:
                save(done)
                world.wait()  # who ends early may get the others killed
                raise Interrupted
            if due:
                save(done)
                saved = time.monotonic()
    if world.main:
        save_trained(run, net, average, config, dataset, steps)
        run.good.unlink(missing_ok=True)
    return True


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    if average:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)


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
