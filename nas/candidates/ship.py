"""Accuracy of a candidate as it will be shipped: extracted, calibrated, quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from nas.data.batches import calibration_images, eval_batches
from nas.data.dataset import Dataset
from nas.quantization.quantize import quantize
from nas.supernet.supernet import Supernet
from nas.tasks.task import Score

from .calibrate import Calibration
from .candidate import Candidate

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Shipped:
    """A candidate as it leaves the supernet: a calibrated timm model in fp32, and what is evaluated, which is the model
    itself or its integer simulation."""

    model: nn.Module
    run: Callable[[Tensor], Tensor]


def ship(net: Supernet, dataset: Dataset, candidate: Candidate, calibration: Calibration | None = None) -> Shipped:
    """Extract, calibrate and, as the policy says, quantize. Deterministic: the same candidate gives the same network.

    ``calibration``, of this supernet on this data set, remembers the subnets it has seen; None: a new one.
    """
    calibration = calibration or Calibration()

    def images() -> Tensor:
        return calibration_images(dataset, candidate.architecture.resolution, calibration.images)

    net.space.encode(candidate.architecture)  # raises where it is of another space
    model = net.extract(candidate.architecture).cpu()
    calibration(model, candidate.architecture, images)
    if not candidate.policy.quantized:
        return Shipped(model, model)
    policy = candidate.policy
    clips = net.clips(candidate.architecture, policy)
    return Shipped(model, quantize(model, images(), policy, clips, rules=calibration.rules))


def measure(
    net: Supernet, dataset: Dataset, candidate: Candidate, split: str, calibration: Calibration | None = None,
    limit: int | None = None,
) -> Score:  # fmt: skip
    """Score of the shipped candidate on a whole split, or on its first ``limit`` images, a stratified sample; the other
    arguments as of :func:`ship`."""
    batches = eval_batches(dataset, split, candidate.architecture.resolution, EVALUATION_BATCH, limit)
    return dataset.task.score(ship(net, dataset, candidate, calibration).run, batches, "cpu")
