"""One class for an image: logits ``[n, classes]``, labels that are class numbers or distributions over classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.architecture import Interface

from .losses import Loss, alpha_loss, soft_loss, teacher_loss


@dataclass(frozen=True)
class Accuracy:
    """Correct answers out of a number of images."""

    correct: int
    images: int

    @property
    def value(self) -> float:
        return self.correct / self.images

    def record(self) -> dict[str, float]:
        return {"correct": self.correct, "images": self.images}

    @property
    def standard_error(self) -> float:
        """Of the share, binomial, with one success and one failure added so that it is never 0."""
        p = (self.correct + 1) / (self.images + 2)
        return math.sqrt(p * (1 - p) / self.images)

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson's score interval (95 % by default)."""
        n, p = self.images, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


class Classification:
    """See :class:`nas.tasks.task.Task`."""

    name = "classification"
    title = "Image classifier"
    hub_tag = "image-classification"
    metric = "accuracy"
    meaning = "a logit for each class, in the order of the classes; their softmax is the probabilities"
    device_code = 'classes[logits.argmax()], f"{np.exp(logits.max() - np.logaddexp.reduce(logits)):.3f}"'
    card_code = """logits = model(transform(image)[None])
print(model.pretrained_cfg["label_names"][logits.argmax()])"""

    def interface(self, in_chans: int, classes: Sequence[str]) -> Interface:
        return Interface(in_chans, len(classes))

    def loss(self, output: Tensor, labels: Tensor, teacher: Tensor | None, settings: Loss) -> Tensor:
        """Cross-entropy; ``labels`` ``[n]``, or where images are mixed ``[n, classes]``; ``teacher``: probabilities
        ``[n, classes]``, at the temperature of ``settings``."""
        own = F.cross_entropy(output, labels, label_smoothing=settings.smoothing)
        if teacher is None:
            return own
        weight = settings.teacher_weight
        return (1 - weight) * own + weight * teacher_loss(output, teacher, settings.temperature)

    def imitate(self, output: Tensor, teacher: Tensor, settings: Loss) -> Tensor:
        """What ``settings.distill`` names; logits ``[n, classes]`` both."""
        return soft_loss(output, teacher) if settings.distill == "soft" else alpha_loss(output, teacher)

    def constant_loss(self, labels: NDArray[np.int64], outputs: int, settings: Loss, taught: bool) -> float | None:
        """The entropy of the (smoothed) labels; a teacher's answers are taken to be as many for every class."""
        share = np.bincount(labels, minlength=outputs) / len(labels)
        share = (1 - settings.smoothing) * share + settings.smoothing / outputs
        entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
        if not taught:
            return entropy
        weight = settings.teacher_weight
        return (1 - weight) * entropy + weight * settings.temperature**2 * math.log(outputs)

    def blendable(self, labels: Tensor, outputs: int) -> Tensor:
        """Class numbers ``[n]`` as distributions ``[n, outputs]``."""
        return F.one_hot(labels, outputs).float()

    @torch.no_grad()
    def score(
        self, run: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], device: str | torch.device
    ) -> Accuracy:
        correct = seen = 0
        for images, labels in batches:
            logits = run(images.to(device, memory_format=torch.channels_last))
            correct += int((logits.argmax(1).cpu() == labels).sum())
            seen += len(labels)
        return Accuracy(correct, seen)

    @torch.no_grad()
    def confusion(
        self,
        run: Callable[[Tensor], Tensor],
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: int,
        device: str | torch.device,
    ) -> Tensor | None:
        counts = torch.zeros(classes, classes, dtype=torch.long)
        for images, labels in batches:
            logits = run(images.to(device, memory_format=torch.channels_last))
            if logits.shape[1:] != (classes,):
                return None
            counts.index_put_((labels, logits.argmax(1).cpu()), torch.ones_like(labels), accumulate=True)
        return counts

    def score_of(self, record: Mapping[str, float]) -> Accuracy:
        accuracy = Accuracy(int(record["correct"]), int(record["images"]))
        if not 0 <= accuracy.correct <= accuracy.images:
            raise ValueError("more correct answers than images")
        return accuracy
