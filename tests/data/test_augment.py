"""The parts of an augmentation, each by itself, and classes that mirror images exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from nas.candidates.mirrored import mirror_findings
from nas.data.augment import Parts, describe_augment, shift_and_flip
from nas.data.batches import TrainSteps, train_batches
from nas.data.dataset import Dataset, PixelCache
from nas.data.mirrored import PAIRS, mirrored_pairs
from nas.data.opening import open_dataset
from nas.training.check import augment_warnings, mirrors
from nas.training.config import TrainConfig
from tests.support.cli_runs import invoke
from tests.support.pixels import eval_tensors

NOTHING = Parts(False, False, False, False)
SIDES = {"small": 32, "photos": 64}


@pytest.fixture(scope="module", params=SIDES)
def noise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images without any symmetry, a little wider than high."""
    folder, side = tmp_path_factory.mktemp("noise"), SIDES[request.param]
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, (side, side + 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return open_dataset(str(folder), 0)


def batch(dataset: Dataset, augment: str, parts: Parts) -> tuple[Tensor, Tensor]:
    """Images of two steps, and the same images as for evaluation."""
    given = [b[0] for b in train_batches(dataset, 12, 0, 0, 2, 32, augment, erasing=0.0, parts=parts)]
    steps = TrainSteps(dataset, 12, 0, 32, "none")
    plain, _ = eval_tensors(dataset, "train", 32)
    return torch.cat(given), torch.cat([plain[steps.chosen(i)] for i in range(2)])


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_without_its_parts_an_augmentation_is_the_evaluation(noise: Dataset, augment: str) -> None:
    given, plain = batch(noise, augment, NOTHING)
    assert torch.equal(given, plain)
    assert not describe_augment(augment, noise.info, NOTHING)


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_mirroring_alone_mirrors_about_half_and_changes_nothing_else(noise: Dataset, augment: str) -> None:
    given, plain = batch(noise, augment, replace(NOTHING, mirror=True))
    as_they_are = [torch.equal(a, b) for a, b in zip(given, plain, strict=True)]
    turned = [torch.equal(a, b.flip(-1)) for a, b in zip(given, plain, strict=True)]
    assert all(a != b for a, b in zip(as_they_are, turned, strict=True))
    assert 4 <= sum(turned) <= len(turned) - 4


@pytest.mark.parametrize("part", ["crop", "colour", "rotate"])
@pytest.mark.parametrize("augment", ["light", "strong"])
def test_a_part_alone_does_what_it_says(noise: Dataset, augment: str, part: str) -> None:
    parts = replace(NOTHING, **{part: True})
    given, plain = batch(noise, augment, parts)
    assert (not torch.equal(given, plain)) == bool(describe_augment(augment, noise.info, parts))
    flat = replace(noise, images=Flat(noise), cache=PixelCache())
    given, plain = batch(flat, augment, parts)
    spread = (given.amax((2, 3)) - given.amin((2, 3))).amax(1)
    if part == "colour":  # every pixel of an image of one colour changes alike
        assert float(spread.max()) < 1e-5
    elif part == "crop" and augment == "light" and noise.info.native_size > 40:  # a cut of one colour is that colour
        assert torch.allclose(given, plain, atol=1e-5)


class Flat:
    """Images of one colour in place of a data set's."""

    def __init__(self, dataset: Dataset) -> None:
        self.under = dataset.images

    def __len__(self) -> int:
        return len(self.under)

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", self.under.image(index).size, (90, 140, 60))

    def name(self, index: int) -> str:
        return self.under.name(index)


@pytest.mark.parametrize(("mirror", "crop"), [(False, True), (True, False), (False, False)])
def test_parts_of_shifting_keep_what_the_others_draw(mirror: bool, crop: bool) -> None:
    pixels = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8)
    both = places(pixels, shift_and_flip(pixels, torch.Generator().manual_seed(5)))
    some = places(pixels, shift_and_flip(pixels, torch.Generator().manual_seed(5), Parts(mirror, crop)))
    for (dy, dx, flip), found in zip(both, some, strict=True):
        assert found == (dy if crop else 2, dx if crop else 2, flip and mirror)


def places(pixels: Tensor, moved: Tensor) -> list[tuple[int, int, bool]]:
    """Where each image was moved to, and whether it was mirrored, by trying everything."""
    found = []
    for before, after in zip(pixels, moved, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        windows = {(dy, dx): padded[:, dy : dy + 16, dx : dx + 16] for dy, dx in product(range(5), repeat=2)}
        (place,) = [
            (dy, dx, flip)
            for (dy, dx), window in windows.items()
            for flip in (False, True)
            if torch.equal(window.flip(2) if flip else window, after)
        ]
        found.append(place)
    return found


# names


STYLES: list[Callable[[list[str]], str]] = [
    "_".join, "-".join, " ".join, lambda words: "_".join(w.upper() for w in words),
    lambda words: words[0] + "".join(w.title() for w in words[1:]), lambda words: " ".join(w.title() for w in words),
]  # fmt: skip
LATIN = [pair for pair in PAIRS if all(word.isascii() and word.isalpha() and len(word) > 1 for word in pair)]


@given(
    st.sampled_from(LATIN), st.sampled_from(STYLES),
    st.lists(st.sampled_from(["arrow", "hand", "2", "turn"]), max_size=2), st.booleans(),
    st.lists(st.sampled_from(["stop", "up", "down", "none"]), unique=True),
)  # fmt: skip
def test_names_that_differ_by_a_side_are_found_in_any_style(
    pair: tuple[str, str], style: Callable[[list[str]], str], around: list[str], before: bool, others: list[str]
) -> None:
    ours, theirs = (style([*around, side] if before else [side, *around]) for side in pair)
    assert mirrored_pairs([ours, *others, theirs]) == [(ours, theirs)]


@pytest.mark.parametrize(
    ("classes", "pairs"),
    [
        (("Linkspfeil", "Rechtspfeil"), [("Linkspfeil", "Rechtspfeil")]),
        (("flèche à gauche", "flèche à droite"), [("flèche à gauche", "flèche à droite")]),
        (("левый", "правый"), [("левый", "правый")]),
        (("左", "右"), [("左", "右")]),
        (("Höger", "Vänster"), [("Höger", "Vänster")]),
        (("⬅️", "➡️"), [("⬅️", "➡️")]),
        (("hand_l", "hand_r"), [("hand_l", "hand_r")]),
        (("eye OD", "eye OS"), [("eye OD", "eye OS")]),
        (("l", "r"), [("l", "r")]),
        (("left_right", "right_left"), [("left_right", "right_left")]),
        (tuple("abcdefghijklmnopqrstuvwxyz"), [("b", "d"), ("p", "q")]),
        (tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), []),
        (("bright", "blight", "north", "south", "leftover"), []),
        (("left",), []),
        (("cat", "dog"), []),
    ],
)
def test_names_of_sides(classes: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    assert mirrored_pairs(classes) == pairs


# what training says


@pytest.fixture(scope="module")
def arrows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that are bright on the left or on the right: mirror images of each other."""
    folder = tmp_path_factory.mktemp("arrows") / "arrows"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 30), ("test", 4)):
        for name in ("left", "right"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
                pixels[:, :24] += np.uint8(150)
                image = pixels if name == "left" else pixels[:, ::-1]
                Image.fromarray(np.ascontiguousarray(image)).save(folder / split / name / f"{i}.png")
    return folder


def test_training_warns_of_classes_named_after_sides_unless_it_does_not_mirror(arrows: Path, empty: Path) -> None:
    told = invoke("train-supernet", "--data", arrows, "--dry-run", "--epochs", "1", "--workers", "0")
    assert told.code == 0, told.err
    said = " ".join(told.err.split())
    assert "'left' and 'right' may be mirror images of each other" in said
    assert "(--no-mirror)" in said
    info = open_dataset(str(arrows), 0).info
    assert augment_warnings(TrainConfig(mirror=False), info) == []
    assert augment_warnings(TrainConfig(augment="none"), info) == []


def test_switches_without_effect_are_named(arrows: Path) -> None:
    info = open_dataset(str(arrows), 0).info
    config = TrainConfig(source=str(arrows), augment="light", rotate=False, mirror=False)
    assert augment_warnings(config, info) == [
        "`no_rotate` has no effect: these images aren't augmented so anyway (`augment` light)"
    ]
    assert not mirrors(config, info)
    assert mirrors(replace(config, mirror=True), info)
    assert not mirrors(replace(config, mirror=True, augment="none"), info)


class Brighter(nn.Module):
    """Says which half of an image is brighter, or guesses."""

    def __init__(self, guess: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.guess = guess

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., : x.shape[-1] // 2].mean((1, 2, 3)), x[..., x.shape[-1] // 2 :].mean((1, 2, 3))
        if self.guess:
            coin = (x.sum((1, 2, 3)) * 100).floor() % 2
            return torch.stack([coin, 1 - coin], 1)
        return torch.stack([left - right, right - left], 1) * self.weight


def test_a_network_that_knows_sides_shows_that_images_must_not_be_mirrored(arrows: Path) -> None:
    dataset = open_dataset(str(arrows), 0)
    (line,) = mirror_findings(Brighter, dataset, 32, False)
    assert line.startswith("mirror images of 'left' are 'right' to the network (100 % of them)")


def test_classes_at_chance_after_mirroring_are_named(arrows: Path) -> None:
    dataset = open_dataset(str(arrows), 0)
    (line,) = mirror_findings(lambda: Brighter(guess=True), dataset, 32, True)
    assert "'left' and 'right' are told apart no better than by chance" in line
    assert "`no_mirror`" in line
    assert not mirror_findings(lambda: Brighter(guess=True), dataset, 32, False)


def test_nothing_is_said_of_classes_that_look_alike_from_both_sides(arrows: Path) -> None:
    class Right(nn.Module):
        """Knows the colour of a class, wherever it is."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((1, 2, 3))
            return torch.stack([mean, -mean], 1) * self.weight

    dataset = open_dataset(str(arrows), 0)
    dark = replace(dataset, images=Dark(dataset), cache=PixelCache())
    assert mirror_findings(Right, dark, 32, True) == []


class Dark(Flat):
    """One class is bright, the other dark."""

    def image(self, index: int) -> Image.Image:
        value = 250 if "left" in self.name(index) else 5
        return Image.new("RGB", (48, 48), (value, value, value))
