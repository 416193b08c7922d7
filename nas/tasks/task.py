"""What a network is for: a task says how it learns, how it is scored, and what a device does with its output.

Everything else treats outputs and labels as tensors whose meaning the task alone knows. A new task is one file here and
one line in :data:`TASKS`; ``docs/adding-a-task.md`` walks through one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from nas.store.records import CLASSIFICATION
from search_spaces.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from search_spaces.architecture import Interface

    from .losses import Loss


class Score(Protocol):
    """How well a network did on some examples."""

    @property
    def value(self) -> float:
        """From 0 to 1, and larger is better: a search minimises the rest to 1."""

    @property
    def standard_error(self) -> float:
        """Of ``value``, above 0."""

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Confidence interval of ``value``: ``z`` standard deviations of a normal distribution to each side."""

    def record(self) -> dict[str, float]:
        """What a journal and a result keep of it; :meth:`Task.score_of` is the inverse."""


class Task(Protocol):
    """What a network is for. Tensors are batched along their first dimension.

    Attributes:
        name: key in :data:`TASKS`.
        title: a network of this task in a model card, for example "Image classifier".
        hub_tag: the task's name on the Hugging Face hub.
        metric: the hub's name of what ``Score.value`` is.
        meaning: of the output, in words for a model card.
        device_code: a Python expression in the script beside an exported file: what numpy's :data:`OUTPUT` of one image
            says, which is right where it equals the image's class, and a remark; both texts. It also finds
            ``classes``, the names of what labels say.
        card_code: lines of Python in a model card that show what a timm ``model`` makes of ``transform(image)``.
    """

    name: str
    title: str
    hub_tag: str
    metric: str
    meaning: str
    device_code: str
    card_code: str

    def interface(self, in_chans: int, classes: Sequence[str]) -> Interface:
        """The two ends of a network for images of so many channels; ``classes`` are names of what labels say."""

    def loss(self, output: Tensor, labels: Tensor, teacher: Tensor | None, settings: Loss) -> Tensor:
        """Loss of a pass that learns from labels and, where there is one, from a fixed teacher.

        Args:
            output: float32 ``[n, ...]``.
            labels: of the images, or blended ones (:meth:`blendable`).
            teacher: the fixed teacher's answers; None: there is no such teacher.

        Returns:
            A scalar, the mean over examples.
        """

    def imitate(self, output: Tensor, teacher: Tensor, settings: Loss) -> Tensor:
        """Loss of a pass that learns from the output of the step's own teacher, which gets no gradient; a scalar."""

    def constant_loss(self, labels: NDArray[np.int64], outputs: int, settings: Loss, taught: bool) -> float | None:
        """Loss of the best output that is the same for every image: a run that falls back to it has collapsed.

        None: there is no such yardstick, and collapse isn't watched for.

        Args:
            labels: of the training split, ``[n]``.
            taught: a fixed teacher is part of the loss.
        """

    def blendable(self, labels: Tensor, outputs: int) -> Tensor:
        """Labels whose weighted means are labels too, as mixup needs them: ``[n, ...]``, float32. Raises UsageError:
        labels of this task cannot be mixed."""

    def score(
        self, run: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], device: str | torch.device
    ) -> Score:
        """Score of a network on batches of images and labels. ``run``: normalised images ``[n, c, h, w]`` on
        ``device`` -> outputs ``[n, ...]``."""

    def confusion(
        self,
        run: Callable[[Tensor], Tensor],
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: int,
        device: str | torch.device,
    ) -> Tensor | None:
        """How often images of each class got the name of each, ``[classes, classes]``, rows by label; as :meth:`score`
        otherwise. None: answers of this task aren't classes."""

    def score_of(self, record: Mapping[str, float]) -> Score:
        """The score that :meth:`Score.record` described; other keys are ignored. Raises ValueError, KeyError,
        TypeError: it describes none."""


@dataclass(frozen=True)
class Entry:
    """A file of this folder (imported when the task is first used), the class in it, and a line for people."""

    module: str
    name: str
    summary: str


INPUT = "images"
"""Name of a network's input in exported files."""
OUTPUT = "logits"
"""Name of a network's output in exported files, and of its value for one image in the script beside them."""

TASKS = {
    CLASSIFICATION: Entry(".classification", "Classification", "one class for an image"),
}


@cache
def get_task(name: str = CLASSIFICATION) -> Task:
    """The task of that name. Raises UsageError: there is none."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    entry = TASKS[name]
    task: Task = getattr(import_module(entry.module, __package__), entry.name)()
    return task
