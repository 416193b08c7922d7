"""Forward and backward of one training step: all passes of the strategy on one batch, gradients added up.

It stops at losses, gradients and weights that are not finite, before they replace good ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.transforms import mix
from nas.store.seeds import sequence
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import Task
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError, UserError
from search_spaces.space import NO_DROP

from .amp import FULL, Amp
from .strategies.base import Pass

_SHOWN = 160  # characters of genes in a message
_KEPT = "the last good state is kept. Train again with another `out` and a lower `lr`"


@dataclass(frozen=True)
class StepInput:
    """Images of one step at the largest resolution, on the device.

    Attributes:
        images: ``[n, C, H, W]``.
        labels: as the data set has them, or blended, ``[n, ...]``.
        teacher: answers of a fixed teacher, ``[n, ...]``; None: there is no such teacher.
        first, total: these are the images from number ``first`` on of a batch of ``total`` images that several
            processes share; 0: they are a whole batch.
    """

    images: Tensor
    labels: Tensor
    teacher: Tensor | None = None
    first: int = 0
    total: int = 0

    @property
    def whole(self) -> int:
        """Images of the batch on all processes."""
        return self.total or len(self.labels)

    @property
    def share(self) -> float:
        """Of those images that are here."""
        return len(self.labels) / self.whole

    def part(self, i: int, n: int) -> StepInput:
        """What is here of the i-th of ``n`` parts of (nearly) equal size. Raises UsageError: it is a single one of
        several images, too few for batch norm."""
        if n == 1:
            return self
        begin, end = i * self.whole // n, (i + 1) * self.whole // n
        low, high = max(begin - self.first, 0), min(end - self.first, len(self.labels))
        if high - low == 1 < end - begin:
            raise UsageError(
                f"`batch_size` is {self.whole}; in {n} parts it leaves one of these processes a single image, and "
                "batch norm needs two; give a batch size that parts and processes divide"
            )
        return self._slice(low, max(low, high), max(self.first - begin, 0), end - begin)

    def micro(self, i: int, n: int) -> StepInput:
        """The i-th of ``n`` micro-batches of the images here."""
        if n == 1:
            return self
        begin, end = (j * len(self.labels) // n for j in (i, i + 1))
        return self._slice(begin, end, self.first + begin, self.whole)

    def _slice(self, begin: int, end: int, first: int, total: int) -> StepInput:
        teacher = None if self.teacher is None else self.teacher[begin:end]
        return StepInput(self.images[begin:end], self.labels[begin:end], teacher, first, total)


def run_passes(
    net: Supernet, passes: Sequence[Pass], batch: StepInput, task: Task, loss: Loss, amp: Amp = FULL,
    accumulate: int = 1,
) -> list[float]:  # fmt: skip
    """Forward and backward of all passes; gradients add up, weighted. Returns each pass's loss, unweighted.

    Where processes share the batch, their gradients and losses are parts of a sum over the processes.

    Args:
        amp: precision of the forward and backward passes; losses are fp32. Where it scales, gradients are left scaled.
        accumulate: micro-batches that the images of a pass are seen in, one in memory at a time. Gradients and losses
            are their mean over images. Batch norm sees micro-batches: it normalises with their noisier statistics, and
            its running ones move ``accumulate`` times.
    """
    net.train()
    largest = net.space.largest
    losses = [0.0] * len(passes)
    for micro in range(accumulate):
        teacher: Tensor | None = None
        for index, one in enumerate(passes):
            part = batch.part(*one.part)
            count = min(accumulate, max(1, len(part.labels) // 2))  # batch norm needs two images
            if micro >= count or not len(part.labels):
                continue
            piece = part.micro(micro, count)
            drop = loss.drop if one.architecture == largest else NO_DROP
            with amp.autocast():
                images = resize(piece.images, one.architecture.resolution)
                output = net(images, one.architecture, drop, one.fake).float()
            if one.role == "student":
                assert teacher is not None
                value = task.imitate(output, teacher, loss)
            else:
                value = task.loss(output, piece.labels, piece.teacher, loss)
                teacher = output.detach() if one.role == "teacher" else teacher
            share = len(piece.labels) / part.whole
            factor = one.weight * share
            amp.scaler.scale(value if factor == 1 else value * factor).backward()
            losses[index] += share * value.item()
    return losses


def torch_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of what torch draws within a step on a process, such as dropout."""
    return int(sequence(seed, "train.torch", step, *([rank] if rank else [])).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def loss_without_gradient(
    net: Supernet, batch: StepInput, task: Task, loss: Loss, architecture: Architecture, amp: Amp = FULL
) -> float:
    """Loss of a subnet on the batch's labels in training mode, the running statistics left as they were."""
    with statistics_kept(net):
        net.train()
        with amp.autocast():
            output = net(resize(batch.images, architecture.resolution), architecture).float()
        return task.loss(output, batch.labels, None, loss).item()


@contextmanager
def statistics_kept(net: Supernet) -> Iterator[None]:
    """Put the running statistics back afterwards, which passes in training mode change."""
    statistics = {name: tensor.clone() for name, tensor in net.model.named_buffers()}
    try:
        yield
    finally:
        for name, tensor in net.model.named_buffers():
            tensor.copy_(statistics[name])


def mix_batch(
    batch: StepInput, task: Task, outputs: int, mixup: float, cutmix: float, seed: int, step: int
) -> StepInput:
    """The batch with its images, labels and teacher mixed by :func:`nas.data.transforms.mix`, or as it is."""
    if not (mixup or cutmix):
        return batch
    targets = [task.blendable(batch.labels, outputs), *([] if batch.teacher is None else [batch.teacher])]
    labels, *teacher = mix(batch.images, targets, mixup, cutmix, seed, step)
    return StepInput(batch.images, labels, teacher[0] if teacher else None)


def update(
    net: Supernet, optimizer: torch.optim.Optimizer, clip_value: float, clip_norm: float, amp: Amp = FULL
) -> float:
    """Clip the gradients, each entry (0: not) and then their norm, and move the weights. Returns the norm before."""
    amp.scaler.unscale_(optimizer)
    trained = [p for p in net.model.parameters() if p.grad is not None]
    if clip_value:
        nn.utils.clip_grad_value_(trained, clip_value)
    norm = nn.utils.clip_grad_norm_(trained, clip_norm).item()
    amp.scaler.step(optimizer)
    amp.scaler.update()
    return norm


def resize(images: Tensor, size: int) -> Tensor:
    """Square images of side ``size``, channels last in memory."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)


def check_finite(passes: Sequence[Pass], losses: Sequence[float], step: int) -> None:
    """Stop before a loss that isn't finite reaches the weights: a UserError names the step and the subnet."""
    for trained, loss in zip(passes, losses, strict=True):
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}, of {_named([trained])}; {_KEPT}")


def check_norm(passes: Sequence[Pass], norm: float, step: int) -> None:
    """Stop before weights are written that gradients moved whose ``norm`` isn't finite: a UserError names the step and
    the subnets of its passes."""
    if not math.isfinite(norm):
        raise UserError(f"the norm of the gradients is {norm} at step {step}, of {_named(passes)}; {_KEPT}")


def check_weights(tensors: Iterable[Tensor], done: int) -> None:
    """Refuse, by a UserError that names the step, to overwrite a good checkpoint with weights that aren't finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise UserError(f"weights or running statistics are not finite after step {done}; {_KEPT}")


def _named(passes: Sequence[Pass]) -> str:
    if len(passes) > 1:
        return f"subnets {', '.join(one.architecture.id for one in passes)}"
    genes = json.dumps(dict(passes[0].architecture.genes), separators=(",", ":"))
    return f"subnet {passes[0].architecture.id} {genes if len(genes) <= _SHOWN else genes[:_SHOWN] + '...'}"
