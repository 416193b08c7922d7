"""Accuracy of a candidate as it will be shipped: extracted, calibrated, quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from search_spaces.architecture import Architecture

from . import data
from .calibrate import CALIBRATION_IMAGES, calibrate
from .evaluate import Accuracy, accuracy
from .quantize import quantize
from .supernet import Supernet

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Candidate:
    """An architecture with a precision policy (one precision for the whole network)."""

    architecture: Architecture
    precision: str

    @property
    def id(self) -> str:
        """Name in tables and folders: ``1f0c9a2e-int8``."""
        return f"{self.architecture.id}-{self.precision}"


@dataclass(frozen=True)
class Shipped:
    """A candidate as it leaves the supernet.

    Attributes:
        model: calibrated timm model, fp32.
        run: the function that is evaluated: the model itself, or its int8 simulation; images to logits.
    """

    model: nn.Module
    run: Callable[[Tensor], Tensor]


def ship(net: Supernet, dataset: data.Dataset, candidate: Candidate) -> Shipped:
    """Extract, calibrate and, for int8, quantize. Deterministic: the same candidate gives the same network."""
    images = data.calibration_images(dataset, candidate.architecture.resolution, CALIBRATION_IMAGES)
    model = net.extract(candidate.architecture).cpu()
    calibrate(model, images)
    if candidate.precision == "fp32":
        return Shipped(model, model)
    return Shipped(model, quantize(model, images))


def measure(net: Supernet, dataset: data.Dataset, candidate: Candidate, split: str) -> Accuracy:
    """Top-1 accuracy of the shipped candidate on a whole split."""
    batches = data.eval_batches(dataset, split, candidate.architecture.resolution, EVALUATION_BATCH)
    return accuracy(ship(net, dataset, candidate).run, batches)
