"""The space of a run that names none follows its images and weights, is said, and stays what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.events import Event, Noted
from nas.store.files import save_tensors
from nas.store.records import DataInfo
from nas.store.run import Run
from nas.training.config import TrainConfig
from nas.training.fitting import LARGE, MANY, PRETRAINED, SMALL, TINY, choose_space, describe_view
from nas.workflows.train import settle_space
from search_spaces import get_space
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, UserError
from search_spaces.families.named import WIDTHS, spell_out
from tests.conftest import PhotoFolder
from tests.support.cli_runs import edit_json, invoke
from tests.support.small_runs import are_equal, train_run, weights_of


def info(side: int = 300, images: int = 1000, channels: int = 3) -> DataInfo:
    counts = {"train": images, "search": 10, "test": 10}
    half = (0.5,) * channels
    return DataInfo("photos", ("a", "b"), channels, half, half, side, counts, 1.0 if side <= 40 else 0.875)


@pytest.mark.parametrize(
    ("side", "images", "pretrained", "space"),
    [
        (28, 12_000, False, TINY),
        (40, 10**6, False, TINY),
        (41, 100, False, SMALL),
        (64, 2_000, False, SMALL),
        (100, 10**6, False, SMALL),
        (3000, 1_000, False, SMALL),
        (3000, MANY, False, LARGE),
        (3000, 1_000, True, f"{PRETRAINED}{WIDTHS}"),
        (64, 1_000, True, f"{PRETRAINED}:resolution=64,96,128{WIDTHS}"),
        (32, 1_000, True, f"{PRETRAINED}:resolution=32,48,64{WIDTHS}"),
    ],
)
def test_the_space_follows_size_number_and_weights(side: int, images: int, pretrained: bool, space: str) -> None:
    choice = choose_space(info(side, images), pretrained)
    assert choice.space == space
    for word in (f"`space` {space},", f"{images:,} colour", f"{side} px"):
        assert word in choice.reason


@given(st.integers(1, 5000), st.integers(1, 10**6), st.sampled_from([1, 3]))
def test_no_image_is_looked_at_through_a_keyhole(side: int, images: int, channels: int) -> None:
    """Networks see at least half of the side of small images, and 96 px of larger ones."""
    choice = choose_space(info(side, images, channels))
    space = get_space(choice.space)
    most = int(max(space.genes[space.index["resolution"]].choices))
    assert most >= min(96, side / 2)
    assert ("grey" if channels == 1 else "colour") in choice.reason


def test_embedded_images_keep_the_space_of_the_demo(empty: Path) -> None:
    settled = settle_space(None, TrainConfig())
    assert settled.config == TrainConfig(space=TINY)
    assert settled.run.path == Path("runs/embedded-mbv3-tiny")


@pytest.mark.parametrize("side", [28, 300])
def test_the_view_is_what_timm_does(side: int) -> None:
    data = info(side)
    for name in (TINY, SMALL):
        said = describe_view(name, data, "")
        space = get_space(name)
        for px in space.genes[space.index["resolution"]].choices:
            resize = timm.data.create_transform((3, int(px), int(px)), crop_pct=data.crop_pct).transforms[0]
            assert str(resize.size) in said
            assert str(px) in said
        assert f"({side} px in the median)" in said
        assert "colour" in said
    assert describe_view(TINY, data, "mirrored half of the time").endswith("images are mirrored half of the time")


# weights to start from


def test_weights_choose_the_space_that_they_fit(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    torch.save(timm.create_model("mobilenetv2_100", num_classes=7).state_dict(), file)
    choice = choose_space(info(), init=str(file))
    assert choice.space == f"timm:mobilenetv2_100{WIDTHS}"
    assert "model.pth fit it" in choice.reason
    for side, sides in ((28, "32,48,64"), (64, "64,96,128")):
        assert choose_space(info(side), init=str(file)).space == f"timm:mobilenetv2_100:resolution={sides}{WIDTHS}"


def test_weights_that_pad_as_tensorflow_does_choose_such_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names that EfficientNet-PyTorch gives them."""
    file = tmp_path / "model.pth"
    torch.save(timm.create_model("efficientnet_lite0", num_classes=7).state_dict(), file)
    assert choose_space(info(), init=str(file)).space == f"timm:efficientnet_lite0{WIDTHS}"
    monkeypatch.setattr("nas.training.fitting.is_efficientnet_pytorch", lambda state: True)
    assert choose_space(info(), init=str(file)).space == f"timm:tf_efficientnet_lite0{WIDTHS}"


def test_the_weights_of_a_supernet_name_its_space(tmp_path: Path) -> None:
    """As it stands there, whatever its name would be spelled out as today."""
    file = tmp_path / "supernet.safetensors"
    for space in ("mcunet", "timm:resnet18"):
        save_tensors(file, {"a": torch.zeros(1)}, {"config": {"space": space}, "data": {}, "steps": 1})
        assert choose_space(info(), init=str(file)).space == space


def test_strange_and_missing_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    torch.save({"encoder.weight": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match="none of the spaces that are tried"):
        choose_space(info(), init=str(file))
    with pytest.raises(UserError, match="doesn't exist"):
        choose_space(info(), init=str(tmp_path / "none.pth"))


# in a command


QUICK = ("--epochs", "1", "--batch-size", "8", "--workers", "0", "--save-seconds", "0")


def test_a_dry_run_says_which_space_and_what_it_sees(photo_folder: PhotoFolder, empty: Path) -> None:
    photos = photo_folder(size=(120, 160))
    told = invoke("train-supernet", "--data", photos, "--dry-run", *QUICK)
    assert told.code == 0, told.err
    said = " ".join(told.err.split())
    assert "--space mbv3-small, 48 to 96 px, is chosen for 24 colour training images of 120 px" in said
    assert "networks see 48, 56, 64, 80, 96 px of colour: the shorter side of an image (120 px in the median)" in said
    assert "in training, images are mirrored half of the time, cut out at random, changed in colour" in said
    assert "would train mbv3-small for" in told.out
    assert "runs/photos-mbv3-small" in told.out


def test_a_run_keeps_its_space_whatever_would_be_chosen_now(photos: Path, empty: Path) -> None:
    """Named by its directory, or begun by the same command when no other space was chosen."""
    told: list[Event] = []
    config = TrainConfig(source=str(photos), epochs=1, batch_size=8)
    begun = invoke("train-supernet", "--data", photos, "--space", SMALL, "--out", "mine", *QUICK, "--dry-run")
    assert begun.code == 0, begun.err
    for words in (("--space", TINY), ()):
        done = invoke("train-supernet", "--data", photos, *words, *QUICK)
        assert done.code == 0, done.err
    run = Run(Path("runs/photos-mbv3-tiny"))
    weights = run.read().weights
    larger = replace(run.read().data, native_size=3000)  # as if the images of that run had been photos
    run.write(replace(run.read(), data=larger))
    settled = settle_space(None, config, told.append)
    as_it_has = replace(config, space=TINY, strategy="random", optimizer="nesterov", lr=0.1, weight_decay=3e-5)
    assert settled.config == as_it_has
    assert settled.run == run
    assert [event.text for event in told if isinstance(event, Noted)] == [
        "runs/photos-mbv3-tiny is continued with its own space: `space` mbv3-tiny"
    ]
    assert settle_space(run, replace(config, epochs=3)).config.space == TINY  # refused later, for its epochs
    other = settle_space(None, replace(config, epochs=3))
    assert other.dataset is not None
    assert run.read().weights == weights


# names of timm models, which meant fewer widths once


TYPED = "timm:test_efficientnet:resolution=32"


def test_an_earlier_run_that_names_no_teacher_is_continued(photos: Path, empty: Path) -> None:
    """Earlier versions stored the weight of a teacher that there was not."""
    begun = invoke("train-supernet", "--data", photos, "--space", TINY, *QUICK)
    assert begun.code == 0, begun.err
    run = Run(Path("runs/photos-mbv3-tiny"))
    edit_json(run.config, lambda c: c | {"config": c["config"] | {"teacher_weight": 0.5}})
    for words in (("--data", photos, *QUICK), ("--config", run.config, "--out", run.path)):
        again = invoke("train-supernet", *words)
        assert "trained: runs/photos-mbv3-tiny" in again.out, again.err


@pytest.fixture
def earlier(photos: Path, empty: Path) -> Run:
    """A run as the command wrote it when its space was what its name says."""
    run = Run(Path("runs/photos-timm-test_efficientnet-resolution-32"))
    train_run(run, TrainConfig(source=str(photos.resolve()), space=TYPED, epochs=1, batch_size=8))
    return run


def test_a_new_run_keeps_the_name_in_full(photos: Path, empty: Path) -> None:
    told = invoke("train-supernet", "--data", photos, "--space", TYPED, *QUICK)
    assert told.code == 0, told.err
    run = Run(Path("runs/photos-timm-test_efficientnet-resolution-32"))
    weights = run.read().weights
    assert run.read().settings.space == TYPED + WIDTHS
    for space in (TYPED, TYPED + WIDTHS):  # neither trains anything
        again = invoke("train-supernet", "--data", photos, "--space", space, *QUICK)
        assert "trained: runs/photos-timm-test_efficientnet-resolution-32" in again.out
    assert run.read().weights == weights
    coarse = invoke("train-supernet", "--data", photos, "--space", f"{TYPED}:width=0.75", "--dry-run", *QUICK)
    assert f"would train {TYPED}:width=0.75 for" in coarse.out
    assert "runs/photos-timm-test_efficientnet-resolution-32-width-0.75" in coarse.out


def test_an_earlier_run_keeps_the_meaning_of_its_name(earlier: Run, photos: Path) -> None:
    before = earlier.config.read_bytes()
    again = invoke("train-supernet", "--data", photos, "--space", TYPED, *QUICK)
    assert again.code == 0, again.err
    assert f"is continued with its own space: --space {TYPED}" in again.err
    named = invoke("train-supernet", "--data", photos, "--space", TYPED, "--out", earlier.path, *QUICK)
    assert named.code == 0, named.err
    other = invoke("train-supernet", "--data", photos, "--space", f"{TYPED}:depth=1", "--out", earlier.path, *QUICK)
    assert "holds a run with other settings" in other.message
    assert earlier.config.read_bytes() == before


def test_an_earlier_run_is_repeated_as_it_was(earlier: Run) -> None:
    """From its own file, in another directory: to the same bits."""
    again = invoke("train-supernet", "--config", earlier.config, "--out", "again", "--workers", "0")
    assert again.code == 0, again.err
    assert Run(Path("again")).read().settings.space == TYPED
    assert are_equal(weights_of(Run(Path("again"))), weights_of(earlier))
    typed = invoke("train-supernet", "--config", earlier.config, "--space", TYPED, "--out", "typed", "--dry-run")
    assert f"would train {TYPED}{WIDTHS} for" in typed.out


def test_the_chosen_space_of_an_earlier_run_is_kept(earlier: Run, photos: Path) -> None:
    """What the images chose then, the same command chooses now."""
    chosen = replace(TrainConfig(source=str(photos.resolve()), epochs=1, batch_size=8), space=spell_out(TYPED))
    assert settle_space(None, chosen).config.space == TYPED
    assert settle_space(None, chosen).run == earlier


def test_settings_are_checked_before_images_are_read(empty: Path) -> None:
    with pytest.raises(UsageError, match="`epochs`"):
        settle_space(None, TrainConfig(source="nowhere", epochs=-1))
