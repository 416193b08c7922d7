"""Training on several processes: what each of them sees, and what they tell each other.

All processes train the same subnets of a step, each on its share of the batch, and hold the same weights: the gradients
of all passes are added up in one message a step. ``batch_size`` is that of all processes together, so a run is the
same, but for rounding and batch statistics, whatever the number of processes.

Batch norm normalises with the statistics of a process's own share. The running ones are averaged every step, so that
a checkpoint does not depend on who writes it or when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.data.batches import ALL, Rows
from nas.training.step import StepInput
from nas.training.strategies.base import LossOf
from search_spaces.errors import UsageError, UserError

Value = TypeVar("Value")


class LostProcess(UserError):
    """Another process of the run ended, or does not answer."""


@dataclass(frozen=True)
class World:
    """The processes of a run, seen by one of them. A single one tells nobody anything, at no cost.

    Attributes:
        rank: of this process, 0 to ``size - 1``.
        patient: gloo group without a short time limit, for waiting while process 0 works alone.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    patient: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, images: int) -> tuple[int, int]:
        """Begin and end of this process's images among those of a batch."""
        return self.rank * images // self.size, (self.rank + 1) * images // self.size

    def rows(self, images: int, mirrored: bool = False) -> Rows:
        """Which images of a batch this process loads.

        Args:
            images: of the batch of all processes.
            mirrored: also the images that :func:`nas.data.transforms.mix` pairs with its own; they follow its own, such
                that mixing what is loaded pairs the same images.
        """
        if self.size == 1:
            return ALL
        begin, end = self.share(images)
        return np.r_[begin:end, images - end : images - begin] if mirrored else slice(begin, end)

    def own(self, batch: StepInput, images: int) -> StepInput:
        """This process's share of a batch of ``images`` of which its :meth:`rows` were loaded (and mixed)."""
        if self.size == 1:
            return batch
        begin, end = self.share(images)
        teacher = None if batch.teacher is None else batch.teacher[: end - begin]
        return StepInput(batch.images[: end - begin], batch.labels[: end - begin], teacher, begin, images)

    def averaged(self, loss_of: LossOf, share: float) -> LossOf:
        """The loss over the whole batch, the same number on every process, of one over this process's ``share``."""
        if self.size == 1:
            return loss_of

        def mean(architecture: Any) -> float:
            value = torch.tensor(loss_of(architecture) * share, dtype=torch.float64)
            _send(lambda: dist.all_reduce(value))
            return value.item()

        return mean

    @torch.no_grad()
    def reduce(self, model: nn.Module, losses: list[float]) -> list[float]:
        """Add up gradients and losses over the processes and average running statistics, in one message.

        Args:
            model: its gradients and statistics are overwritten. A parameter without a gradient on all processes keeps
                none, so the optimizer leaves it alone.
            losses: each a part of the sum, as :func:`nas.training.step.run_passes` returns them; the sums are returned.
        """
        if self.size == 1:
            return losses
        weights = [p for p in model.parameters() if p.requires_grad]
        statistics = _statistics(model)
        parts = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in weights]
        parts += [tensor.reshape(-1) / self.size for tensor in statistics]
        parts.append(torch.tensor([float(p.grad is not None) for p in weights] + losses, device=weights[0].device))
        message = torch.cat(parts)
        _send(lambda: dist.all_reduce(message))
        *tensors, last = message.split([len(part) for part in parts])
        numbers: list[float] = last.tolist()
        for weight, tensor, owners in zip(weights, tensors, numbers, strict=False):
            if owners:
                weight.grad = torch.empty_like(weight) if weight.grad is None else weight.grad
                weight.grad.copy_(tensor.view_as(weight))
        for kept, tensor in zip(statistics, tensors[len(weights) :], strict=True):
            kept.copy_(tensor.view_as(kept))
        return numbers[len(weights) :]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set on any process."""
        if self.size == 1:
            return flags
        numbers = torch.tensor(flags, dtype=torch.int32)
        _send(lambda: dist.all_reduce(numbers, dist.ReduceOp.MAX))
        return tuple(bool(number) for number in numbers)

    def wait(self) -> None:
        """Until all processes are here, however long process 0 works alone."""
        if self.size > 1:
            _send(lambda: dist.barrier(self.patient))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Process 0 does what is inside before the others do."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def from_main(self, value: Value) -> Value:
        """The value that process 0 gives; the others wait for it."""
        if self.size == 1:
            return value
        values = [value]
        _send(lambda: dist.broadcast_object_list(values, 0, self.patient, torch.device("cpu")))
        return values[0]

    def start_alike(self, model: nn.Module, step: int) -> None:
        """Copy the weights of process 0 to all; machines of different kinds may compute others from the same seed.
        Raises UserError: processes would continue from different steps."""
        if self.size == 1:
            return
        steps: list[Any] = [None] * self.size
        _send(lambda: dist.all_gather_object(steps, step, self.patient))
        if len(set(steps)) > 1:
            other = next(rank for rank in range(self.size) if steps[rank] != steps[0])
            raise UserError(
                f"process {other} starts at step {steps[other]} and process 0 at step {steps[0]}: they see different "
                "run directories; give an `out` on a disk that all machines share"
            )
        for tensor in model.state_dict().values():
            whole = tensor.contiguous()
            _send(lambda sent=whole: dist.broadcast(sent, 0))  # type: ignore[misc]
            tensor.copy_(whole)


def check_processes(count: int, batch_size: int, accumulate: int = 1) -> None:
    """Refuse shares of a batch that are too small, by a UsageError."""
    least = 2 * accumulate
    if count > 1 and batch_size // count < least:
        pieces = f" in {accumulate} micro-batches" if accumulate > 1 else ""
        raise UsageError(
            f"`batch_size` is {batch_size}; over {count} processes{pieces} it leaves too little for batch norm, which "
            f"needs two images: give {least * count} or more, or fewer processes"
        )


def _statistics(model: nn.Module) -> list[Tensor]:
    """Running statistics that training changes."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    return [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]


def _send(message: Callable[[], Any]) -> None:
    """Send a message. Raises LostProcess where somebody is not there to hear it."""
    try:
        message()
    except RuntimeError as error:
        raise LostProcess(
            "another process of this run ended or does not answer; the last checkpoint is kept, and the same command "
            "continues from it"
        ) from error


ALONE = World()
