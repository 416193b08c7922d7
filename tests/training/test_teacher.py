"""A fixed teacher: what is kept of it, against its own probabilities, and training that learns from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.candidates.calibrate import calibrate
from nas.data.batches import train_batches, train_positions
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Event, Noted, Warned
from nas.store.files import load_tensors, save_tensors, write_json
from nas.store.run import Run
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.strategies.base import Pass, RunFacts
from nas.training.strategies.table import STRATEGIES, Entry
from nas.training.teacher import answers as teacher
from nas.training.teacher import teacher as teacher_open
from nas.training.teacher.answers import Answers, answers_of
from nas.training.teacher.teacher import open_teacher
from nas.training.weights import load_supernet
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.builders.timm_model import TimmSpec
from search_spaces.errors import UsageError, UserError
from tests.conftest import PhotoFolder
from tests.support.cli_runs import half, invoke
from tests.support.pixels import eval_tensors
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")
CLASSES = ("apple", "pear", "plum")
ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=0)
MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


def write_folder(folder: Path, classes: tuple[str, ...] = CLASSES, channels: int = 3, seed: int = 1) -> Path:
    """A teacher as ``nas export`` writes it: a random ResNet, sharp enough to have opinions."""
    folder.mkdir(exist_ok=True)
    spec = TimmSpec("resnet10t", Interface(channels, len(classes)))
    torch.manual_seed(seed)
    model = spec.build()
    with torch.no_grad():
        model.get_classifier().weight.mul_(300)
    save_tensors(folder / "model.safetensors", model.state_dict(), {})
    seen = {"input_size": [channels, 32, 32], "mean": list(MEAN[:channels]), "std": list(STD[:channels]),
            "interpolation": "bilinear", "crop_pct": 0.9}  # fmt: skip
    write_json(folder / "architecture.json", {"timm": spec.to_json(), "classes": list(classes), "input": seen})
    return folder


def by_hand(folder: Path, dataset: Dataset, temperature: float) -> torch.Tensor:
    """Probabilities of the training images from the folder's files, image by image with timm's own transform."""
    facts = json.loads((folder / "architecture.json").read_text())
    model = TimmSpec.from_json(facts["timm"]).build().eval()
    model.load_state_dict(load_tensors(folder / "model.safetensors")[0])
    transform = timm.data.create_transform(**facts["input"], is_training=False)
    channels = facts["input"]["input_size"][0]
    images = [dataset.image(int(n)) for n in dataset.splits["train"]]
    pixels = [transform(image.convert("L" if channels == 1 else "RGB")) for image in images]
    with torch.no_grad():
        return torch.stack([(model(x[None])[0] / temperature).softmax(0) for x in pixels])


def ask(path: Path, name: object, dataset: Dataset, temperature: float = 1.0) -> tuple[Answers, list[str]]:
    path.mkdir(exist_ok=True)
    reports: list[Event] = []
    found = answers_of(Run(path), str(name), temperature, dataset, "cpu", reports.append)
    assert found is not None
    return found, [type(event) for event in reports]


# What is kept


def test_the_rest_is_spread_evenly() -> None:
    answers = Answers(torch.tensor([[3, 1], [0, 4]]), torch.tensor([[0.5, 0.2], [0.9, 0.1]]), 5)
    found = answers.of(np.array([1, 0, 0]))
    expected = [[0.9, 0.0, 0.0, 0.0, 0.1], [0.1, 0.2, 0.1, 0.5, 0.1], [0.1, 0.2, 0.1, 0.5, 0.1]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_answers_are_the_teachers_own(photos: Path, tmp_path: Path) -> None:
    dataset, folder = open_dataset(str(photos)), write_folder(tmp_path / "teacher")
    for temperature in (1.0, 3.0):
        answers, _ = ask(tmp_path / f"run-{temperature}", folder, dataset, temperature)
        expected = by_hand(folder, dataset, temperature)
        assert expected.max() - expected.min() > 0.1  # it has opinions
        torch.testing.assert_close(answers.of(np.arange(len(expected))), expected, rtol=1e-4, atol=1e-5)
    steps = train_batches(dataset, 4, 7, 0, 11, 28)  # what it calls image i is image i of the batch
    for step, (_, labels) in enumerate(steps):
        positions = train_positions(len(expected), 4, 7, step)
        assert torch.equal(labels, torch.from_numpy(dataset.labels[dataset.splits["train"][positions]]))
        torch.testing.assert_close(
            answers.batch(4, 7, step), expected[torch.from_numpy(positions)], rtol=1e-4, atol=1e-5
        )


def test_only_the_largest_probabilities_are_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "TOP", 2)
    dataset, folder = open_dataset(str(photos)), write_folder(tmp_path / "teacher")
    answers, _ = ask(tmp_path / "run", folder, dataset)
    exact = by_hand(folder, dataset, 1.0)
    assert answers.classes.shape == (len(exact), 2)
    torch.testing.assert_close(answers.values, exact.sort(1, descending=True).values[:, :2], rtol=1e-4, atol=1e-5)
    # of three classes, the rest is the third's
    torch.testing.assert_close(answers.of(np.arange(len(exact))), exact, rtol=1e-4, atol=1e-5)


def test_grey_images_for_a_teacher_of_colours(photo_folder: PhotoFolder, tmp_path: Path) -> None:
    photos = photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(28, 28), mode="L")
    dataset, folder = open_dataset(str(photos)), write_folder(tmp_path / "teacher")
    assert dataset.info.in_chans == 1
    answers, _ = ask(tmp_path / "run", folder, dataset)
    expected = by_hand(folder, dataset, 1.0)
    torch.testing.assert_close(answers.of(np.arange(len(expected))), expected, rtol=1e-4, atol=1e-5)


def test_asked_once_and_again_where_it_must_be(photos: Path, tmp_path: Path) -> None:
    dataset, folder, run = open_dataset(str(photos)), write_folder(tmp_path / "teacher"), tmp_path / "run"
    first, said = ask(run, folder, dataset)
    assert said == [Noted]
    content = Run(run).teacher.read_bytes()

    def again(expected: list[type], dataset: Dataset = dataset, temperature: float = 1.0) -> Answers:
        found, said = ask(run, folder, dataset, temperature)
        assert said == expected
        return found

    assert torch.equal(again([]).values, first.values)
    half(Run(run).teacher)  # damaged
    assert torch.equal(again([Warned, Noted]).values, first.values)
    assert Run(run).teacher.read_bytes() == content
    assert not torch.equal(again([Noted], temperature=2.0).values, first.values)
    again([Noted])
    other = open_dataset(str(photos), seed=1)  # other splits
    again([Noted], dataset=other)
    write_folder(folder, seed=2)  # other weights
    again([Warned, Noted], dataset=other)
    for file in folder.iterdir():
        file.unlink()
    again([], dataset=other)  # the teacher is gone, its answers are there


# Which network it is


def test_a_run_teaches_by_its_largest_subnet(photos: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    train_supernet(run, TrainConfig(source=str(photos), epochs=1.0, batch_size=8), ENGINE, lambda entry: None)
    dataset = open_dataset(str(photos))
    answers, _ = ask(tmp_path / "other", run.path, dataset)
    model = load_supernet(run).extract(TINY.largest)
    images, _ = eval_tensors(dataset, "train", TINY.largest.resolution)
    calibrate(model, images)
    with torch.no_grad():
        expected = model(images).softmax(1)
    torch.testing.assert_close(answers.of(np.arange(len(images))), expected, rtol=1e-4, atol=1e-5)


def test_a_model_of_timms_with_its_weights(photos: Path, tmp_path: Path) -> None:
    """timm's own way to keep a model in a folder stands for its server."""
    dataset = open_dataset(str(photos))
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3).eval()
    from timm.models import save_for_hf

    for names, notes in ((list(CLASSES), 0), (dict(enumerate(CLASSES)), 0), (None, 1)):
        expects = {"input_size": (3, 32, 32), "mean": MEAN, "std": STD, "crop_pct": 1.0, "interpolation": "bicubic"}
        model.pretrained_cfg |= expects
        save_for_hf(model, tmp_path / "saved", model_config={"label_names": names} if names else {})
        found = open_teacher(f"local-dir:{tmp_path / 'saved'}", dataset)
        assert len(found.notes) == notes
        images = torch.cat(list(found.images(dataset, 8)))
        transform = timm.data.create_transform(**expects)
        by_image = torch.stack([transform(dataset.image(int(n))) for n in dataset.splits["train"]])
        torch.testing.assert_close(images, by_image)
        with torch.no_grad():
            torch.testing.assert_close(found.model.eval()(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda p: write_folder(p, ("apple", "pear")), UserError, "knows 2 classes, '.*' has 3"),
        (lambda p: write_folder(p, ("apple", "plum", "pear")), UserError,
         "in another order than '.*': class 1 is 'plum' there and 'pear' here"),
        (lambda p: write_folder(p, ("apple", "pear", "fig")), UserError, "class 2 is 'fig' there and 'plum' here"),
        (lambda p: write_folder(p, channels=1), UserError, "takes 1-channel images, '.*' has 3-channel ones"),
        (lambda p: p.mkdir() or p, UsageError, "neither a run directory nor an exported folder"),
        (lambda p: "resnet10", UsageError, "no such folder, and no model of timm's; did you mean 'resnet10"),
        (lambda p: "resnet18", UserError, "resnet18 knows 1000 classes, '.*' has 3"),
        (lambda p: "test_vit.nothing", UsageError, "timm has no weights for it"),
        (lambda p: f"local-dir:{p}", UserError, "cannot be fetched"),
    ],
)  # fmt: skip
def test_teachers_that_do_not_fit(
    photos: Path, tmp_path: Path, make: Callable[[Path], object], kind: type[UserError], message: str
) -> None:
    with pytest.raises(UserError, match=message) as found:
        open_teacher(str(make(tmp_path / "teacher")), open_dataset(str(photos)))
    assert found.type is kind
    assert len(str(found.value).splitlines()) <= 2


@pytest.mark.parametrize("file", ["architecture.json", "model.safetensors"])
def test_a_damaged_folder(photos: Path, tmp_path: Path, file: str) -> None:
    folder, dataset = write_folder(tmp_path / "teacher"), open_dataset(str(photos))
    open_teacher(str(folder / file), dataset)  # a file of the folder means the folder
    half(folder / file)
    with pytest.raises(UserError, match=re.escape(f"{folder / file} is damaged")):
        open_teacher(str(folder), dataset)
    (folder / file).unlink()
    with pytest.raises(UserError):
        open_teacher(str(folder), dataset)
    write_folder(folder)
    if file == "architecture.json":
        write_json(folder / file, {"timm": {}})
    else:
        save_tensors(folder / file, {"other": torch.zeros(1)}, {})
    with pytest.raises(UserError, match=r"timm.model is missing|does not hold the weights"):
        open_teacher(str(folder), dataset)


def test_imagenet_in_another_order(photos: Path) -> None:
    synsets = tuple(timm.data.ImageNetInfo("imagenet-1k").label_names())
    model = timm.create_model("resnet10t")
    assert teacher_open.class_names(model, synsets) == synsets
    assert teacher_open.class_names(model, synsets[::-1]) == synsets  # which then differ, and are refused
    assert teacher_open.class_names(model, tuple(map(str, range(1000)))) is None


# Training


def _config(photos: Path, folder: Path, **more: Any) -> TrainConfig:
    settings: dict[str, Any] = {"epochs": 1.0, "batch_size": 4, "teacher": str(folder), "strategy": "sandwich"}
    return TrainConfig(source=str(photos), **settings | more)


def _trained(run: Run, config: TrainConfig) -> dict[str, torch.Tensor]:
    train_supernet(run, config, ENGINE, lambda entry: None)
    return load_tensors(run.supernet)[0]


def _same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


class Extremes:
    """The smallest learns from the largest: few networks, so quickly built."""

    def __init__(self, facts: RunFacts) -> None:
        self.space = facts.space

    def passes(self, step: int, rng: np.random.Generator, loss_of: object) -> tuple[Pass, ...]:
        return Pass(self.space.largest, "teacher"), Pass(self.space.smallest, "student")


def test_everything_of_this_kind_resumes_exactly(
    photos: Path, tmp_path: Path, at_steps: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the teacher's file lost or damaged in between, and the teacher gone at the end."""
    monkeypatch.setitem(STRATEGIES, "extremes", Entry(__name__, "Extremes", ""))
    config = _config(
        photos, write_folder(tmp_path / "teacher"), strategy="extremes", distill="alpha", clip_value=0.01,
        teacher_temperature=2.0, dropout=0.2, drop_path=0.1,
    )  # fmt: skip
    straight, stopped = Run(tmp_path / "straight"), Run(tmp_path / "stopped")
    expected = _trained(straight, config)
    acts = (lambda: stopped.teacher.unlink(), lambda: half(stopped.teacher), lambda: _remove(tmp_path / "teacher"))
    for step, act in zip((2, 3, 6), acts, strict=True):
        at_steps.append((step, interrupt))
        with pytest.raises(Interrupted):
            _trained(stopped, config)
        act()
    assert _same(_trained(stopped, config), expected)


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def test_what_each_setting_decides(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of 0 is no teacher; everything else changes the weights."""
    monkeypatch.setitem(STRATEGIES, "extremes", Entry(__name__, "Extremes", ""))
    folder = write_folder(tmp_path / "teacher")
    base = _config(photos, folder, teacher=None, epochs=0.25, strategy="extremes")
    settings: dict[str, dict[str, Any]] = {
        "none": {},
        "unheard": {"teacher": str(folder), "teacher_weight": 0.0},
        "heard": {"teacher": str(folder)},
        "hot": {"teacher": str(folder), "teacher_temperature": 4.0},
        "alpha": {"distill": "alpha"},
        "clipped": {"clip_value": 0.01},
        "wide": {"clip_value": 1e6},
        "dropout": {"dropout": 0.3},
        "paths": {"drop_path": 0.3},
    }
    found = {name: _trained(Run(tmp_path / name), replace(base, **more)) for name, more in settings.items()}
    same = {name for name in found if _same(found[name], found["none"])}
    assert same == {"none", "unheard", "wide"}
    others = [name for name in found if name not in same]
    assert not any(_same(found[a], found[b]) for i, a in enumerate(others) for b in others[:i])


def test_a_teacher_teaches(photos: Path, tmp_path: Path) -> None:
    """With the teacher alone, the net ends nearer to what a teacher of made-up classes says than without."""
    folder = write_folder(tmp_path / "teacher")
    dataset = open_dataset(str(photos))
    target = by_hand(folder, dataset, 1.0)
    images, _ = eval_tensors(dataset, "train", TINY.largest.resolution)
    distance = {}
    for weight in (0.0, 1.0):
        run = Run(tmp_path / f"run-{weight}")
        _trained(
            run,
            _config(photos, folder, teacher_weight=weight, epochs=2.0, lr=0.03, label_smoothing=0.0, strategy="random"),
        )
        model = load_supernet(run).extract(TINY.largest)
        calibrate(model, images)
        with torch.no_grad():
            distance[weight] = (model(images).softmax(1) - target).abs().sum(1).mean().item()
    assert distance[1.0] < 0.7 * distance[0.0]


def test_the_command_line(photos: Path, empty: Path) -> None:
    write_folder(empty / "teacher")
    words = ("train-supernet", "--data", photos, "--out", "run", "--epochs", "1", "--batch-size", "8", "--workers", "0",
             "--teacher", "teacher", "--teacher-weight", "0.4", "--teacher-temperature", "2", "--distill", "alpha",
             "--clip-value", "1", "--dropout", "0.1", "--drop-path", "0.2", "--quiet")  # fmt: skip
    result = invoke(*words)
    assert result.code == 0, result.err
    kept = Run(Path("run")).read().config
    assert kept["teacher"] == str(empty / "teacher")  # to go on from elsewhere
    expected = {"teacher_weight": 0.4, "teacher_temperature": 2.0, "distill": "alpha", "clip_value": 1.0,
                "dropout": 0.1, "drop_path": 0.2}  # fmt: skip
    assert {name: kept[name] for name in expected} == expected
    refused = invoke("train-supernet", "--data", photos, "--out", "none", "--teacher", "resnet18")
    assert refused.code == 1
    assert "knows 1000 classes" in refused.err
    assert not Path("none").exists()
