"""Tasks: each passes the kit, a second one trains a supernet, and nobody else looks into outputs and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.opening import open_dataset
from nas.events import Evaluated, Event
from nas.store.run import Run
from nas.tasks.classification import Accuracy, Classification
from nas.tasks.losses import Loss
from nas.tasks.task import TASKS, Entry, get_task
from nas.training.loop import train
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from tests.conftest import PhotoFolder
from tests.kits.task import TaskKit
from tests.support.small_runs import RESOURCES, short_config, weights_of

ROOT = Path(__file__).parents[2]
CLASSES = ("ankle boot", "bag", "coat", "dress")
LABELS = torch.tensor([0, 1, 2, 3, 3, 3, 1, 0])


def test_classification_passes_the_kit() -> None:
    TaskKit("classification", CLASSES, LABELS, lambda labels: 50 * F.one_hot(labels, 4).float()).check()


def test_every_task_has_a_test_that_hands_it_to_the_kit() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert all(f'TaskKit("{name}"' in tests for name in TASKS)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'classification'"):
        get_task("clasification")


class Grades(Classification):
    """Classes in an order, as one number: right where it is nearest to the class's own."""

    name = "grades"

    def interface(self, in_chans: int, classes: object) -> Interface:
        return Interface(in_chans, 1)

    def loss(self, output: Tensor, labels: Tensor, teacher: Tensor | None, settings: Loss) -> Tensor:
        return F.mse_loss(output[:, 0], labels.float())

    def constant_loss(self, labels: object, outputs: int, settings: Loss, taught: bool) -> float:
        return float(torch.as_tensor(labels).float().var(correction=0))

    def score(
        self, run: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], device: str | torch.device
    ) -> Accuracy:
        right = [(run(images.to(device))[:, 0].cpu().round() == labels) for images, labels in batches]
        return Accuracy(int(torch.cat(right).sum()), len(torch.cat(right)))


def test_a_second_task_trains_a_supernet(
    photo_folder: PhotoFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One output in place of a class each, a loss and a score of its own; nothing else is told of it."""
    monkeypatch.setitem(TASKS, "grades", Entry(__name__, "Grades", ""))
    photos = photo_folder({"small": 15, "medium": 15, "large": 15}, size=(28, 28))
    dataset = open_dataset(str(photos))
    dataset = replace(dataset, info=replace(dataset.info, task="grades"))
    run, events = Run(tmp_path / "run"), list[Event]()
    run.path.mkdir()
    train(run, short_config(photos, strategy="sandwich"), dataset, RESOURCES, events.append)
    assert weights_of(run)["classifier.weight"].shape[0] == 1
    (told,) = [event for event in events if isinstance(event, Evaluated)]
    assert set(told.accuracies) == {"smallest", "random", "largest"}
    assert dataset.info.to_json()["task"] == "grades"
    get_task.cache_clear()


LOOKS_INSIDE = re.compile(r"\blogits\b|\bargmax\(|(?<!self)(?<!quantization)(?<=\w)\.correct\b")
NUMPYS_OWN = {"nas/data/splits.py", "nas/data/summary.py", "nas/search/acquisition.py", "nas/profiling/choose.py"}
"""Files that look for the largest of other numbers."""


def test_only_tasks_look_into_outputs() -> None:
    files = {file.relative_to(ROOT).as_posix(): file.read_text() for file in (ROOT / "nas").rglob("*.py")}
    found = {name for name, text in files.items() if LOOKS_INSIDE.search(text)}
    assert {name for name in found if not name.startswith("nas/tasks/")} == NUMPYS_OWN
