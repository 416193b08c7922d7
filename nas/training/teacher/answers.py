"""A fixed teacher: another network's probabilities for the training images, asked for once and kept in the run.

Only the largest probabilities of an image are kept (TinyViT, arXiv:2207.10666), so the teacher costs nothing a step. It
sees each image as in an evaluation, once; TinyViT keeps one answer for every random augmentation of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from nas.data.batches import train_positions
from nas.data.dataset import Dataset, Ints
from nas.events import Listener, Noted, Warned
from nas.store.files import load_tensors, save_tensors
from nas.store.run import Run
from search_spaces.errors import UserError

from .teacher import Teacher, open_teacher, weights_of

TOP = 10
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Answers:
    """The teacher's k largest probabilities for every training image, in the order of the training split: ``classes``
    and ``values`` ``[images, k]``."""

    classes: Tensor
    values: Tensor
    num_classes: int

    def batch(self, batch_size: int, seed: int, step: int) -> Tensor:
        """Probabilities ``[batch_size, num_classes]`` of the images of a step of
        :func:`nas.data.batches.train_batches`."""
        return self.of(train_positions(len(self.classes), batch_size, seed, step))

    def of(self, positions: Ints) -> Tensor:
        """Probabilities ``[n, num_classes]`` of the images at ``positions`` ``[n]`` of the training split.

        What the kept classes leave of 1 is spread evenly over the others.
        """
        index = torch.from_numpy(np.asarray(positions))
        classes, values = self.classes[index].long(), self.values[index]
        others = self.num_classes - classes.shape[1]
        rest = (1 - values.sum(dim=1, keepdim=True)).clamp(min=0) / max(1, others)
        return rest.expand(-1, self.num_classes).scatter(1, classes, values)


@dataclass(frozen=True)
class Question:
    """What a teacher was asked; the metadata of the file of its answers.

    Attributes:
        k: probabilities kept of each image.
        data: fingerprint of the data set.
        order: hash of the order of the training images.
    """

    teacher: str
    temperature: float
    k: int
    data: str
    order: str


def answers_of(
    run: Run, name: str | None, temperature: float, dataset: Dataset, device: str, report: Listener
) -> Answers | None:
    """The answers of the teacher ``name``, from the run's file where that is whole and fits, else from the teacher.
    None: there is no teacher. Raises UserError: as :func:`nas.training.teacher.teacher.open_teacher`."""
    if name is None:
        return None
    classes = dataset.info.num_classes
    top = min(TOP, classes)
    order = hashlib.sha256(dataset.train.tobytes()).hexdigest()[:16]
    asked = Question(name, temperature, top, dataset.info.fingerprint, order)
    images = dataset.info.train_images
    if (known := answers_in(run, asked, images, classes, report)) is not None:
        return known
    teacher = open_teacher(name, dataset)
    report(Noted(f"asking the teacher {name} about {images:,} training images, once"))
    chosen, values = [], []
    for probabilities in _probabilities(teacher, temperature, dataset, device):
        found = probabilities.topk(top, dim=1)
        chosen.append(found.indices.int().cpu())
        values.append(found.values.cpu())
    answers = Answers(torch.cat(chosen), torch.cat(values), classes)
    tensors = {"classes": answers.classes, "values": answers.values}
    save_tensors(run.teacher, tensors, {**asdict(asked), "weights": teacher.weights})
    return answers


def answers_in(run: Run, asked: Question, images: int, num_classes: int, report: Listener) -> Answers | None:
    """What the run's file holds, where that answers what is asked of so many images; None: it must be made."""
    if not run.teacher.exists():
        return None
    try:
        tensors, metadata = load_tensors(run.teacher)
    except UserError as error:
        report(Warned(f"{error}; the teacher is asked again"))
        return None
    weights = weights_of(asked.teacher)
    if weights is not None and metadata.get("weights") != weights:
        report(Warned(f"the teacher {asked.teacher} changed since {run.path} began; it is asked again"))
        return None
    if any(metadata.get(key) != value for key, value in asdict(asked).items()):
        return None
    shape = (images, asked.k)
    classes, values = (tensors.get(name, torch.empty(0)) for name in ("classes", "values"))
    if (
        {classes.shape, values.shape} != {shape}
        or (classes.dtype, values.dtype) != (torch.int32, torch.float32)
        or not ((classes >= 0) & (classes < num_classes)).all()
        or not ((values >= 0) & (values <= 1)).all()
    ):
        report(Warned(f"{run.teacher} holds no probabilities of these images; the teacher is asked again"))
        return None
    return Answers(classes, values, num_classes)


@torch.no_grad()
def _probabilities(teacher: Teacher, temperature: float, dataset: Dataset, device: str) -> Iterator[Tensor]:
    """Probabilities ``[<= 64, classes]`` of the training images in their order."""
    model = teacher.model.to(device).eval()
    for images in teacher.images(dataset, _BATCH):
        yield (model(images.to(device)).float() / temperature).softmax(dim=1)
