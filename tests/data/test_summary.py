"""What is said of a data set before it is used: in training, and by its own command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.opening import open_dataset
from nas.data.splits import imbalance
from nas.data.summary import lines, summarise
from nas.store.records import SPLITS
from tests.support.cli_runs import CLASSES, invoke, write_photos

Folder = Callable[..., Path]


def test_the_summary_counts_what_was_written(photo_folder: Folder) -> None:
    photo_folder({"a": 20, "b": 40}, "train", size=(16, 24))
    folder = photo_folder({"a": 3, "b": 5}, "test", size=(16, 24))
    Image.new("RGB", (8, 8)).save(folder / "train" / "a" / "small.png")
    Image.new("RGB", (50, 70)).save(folder / "train" / "b" / "large.png")
    found = summarise(open_dataset(str(folder), 0))
    assert (found.classes, found.channels, found.usable) == (("a", "b"), 3, True)
    assert [name for name, split in found.splits.items() if split.drawn] == ["search"]
    test = found.splits["test"]
    assert (test.images, test.smallest.name, test.smallest.images, test.largest.images) == (8, "a", 3, 5)
    train, search = found.splits["train"], found.splits["search"]
    assert train.smallest.images + search.smallest.images == 21
    assert train.largest.images + search.largest.images == 41
    assert found.looked_at == train.images
    assert found.sizes[1] == (24, 16)
    said = lines(found)
    assert said[0].endswith(f"2 classes, colour images, {found.sizes[0][0]} x {found.sizes[0][1]} to "
                            f"{found.sizes[2][0]} x {found.sizes[2][1]} px, half of {train.images} looked at "
                            f"up to 24 x 16")  # fmt: skip
    assert "8 images, 3 (a) to 5 (b) per class; as the source has it" in said[3]
    assert "drawn from train" in said[2]


@pytest.mark.parametrize(
    ("counts", "named"), [((9, 90, 50), "a (9)"), ((10, 99, 50), None), ((1, 50, 5), "a (1), c (5)"), ((7, 7, 7), None)]
)
def test_the_rarest_classes_are_named_from_ten_times_on(counts: tuple[int, ...], named: str | None) -> None:
    found = imbalance(np.repeat([0, 1, 2], counts), ("a", "b", "c"))
    assert len(found) == (named is not None)
    if named is not None:
        assert f"'b' has {counts[1]} training images, the rarest are {named};" in found[0]


def test_an_imbalanced_folder_is_split_by_class_and_warned_of(photo_folder: Folder) -> None:
    found = open_dataset(str(photo_folder({"common": 80, "rare": 6}, size=(8, 8))), 0)
    for split in SPLITS:
        assert 1 in found.labels[found.splits[split]], split
    assert [w for w in found.warnings if "the rarest are rare (" in w]


def test_check_of_sound_images(empty: Path) -> None:
    write_photos(empty / "photos", count=6)
    result = invoke("data", "check", "photos")
    assert result.code == 0, result.err
    assert "photos: 3 classes, colour images, 32 x 32 px" in result.out
    assert result.err.strip().splitlines()[-1] == "next: nas train-supernet --data photos"
    assert sorted(path.name for path in empty.iterdir()) == ["photos"]
    training = invoke("train-supernet", "--data", "photos", "--dry-run", "--out", "run")
    for line in result.out.strip().splitlines()[1:]:
        assert line in training.err


def test_check_of_broken_images(empty: Path) -> None:
    write_photos(empty / "photos", count=8)
    broken = [f"{name}/{i:03d}.jpg" for name in CLASSES for i in range(4)]
    for name in broken[:11]:
        (empty / "photos" / name).write_bytes(b"no image")
    result = invoke("data", "check", "photos")
    assert result.code == 1
    assert "11 corrupt images left out (no image of a known format): " in result.err
    assert all(result.err.count(name) == 1 for name in broken[:10])
    assert broken[10] not in result.err
    assert "and 1 more" in result.err
    as_json = invoke("data", "check", "photos", "--json")
    assert (as_json.code, as_json.err) == (1, "")
    assert as_json.json["usable"] is False
    assert as_json.json["corrupt"]["images"] == 11
    assert [each["image"] for each in as_json.json["corrupt"]["first"]] == broken[:10]
    assert as_json.json["splits"]["train"]["smallest"]["images"] >= 1
    for name in [f"apple/{i:03d}.jpg" for i in range(4, 6)]:
        (empty / "photos" / name).write_bytes(b"no image")
    refused = invoke("data", "check", "photos")
    assert refused.code == 1
    assert (
        "13 of 24 images in 'photos' cannot be used: 13 corrupt images left out (no image of a known format): "
        in refused.message
    )


def test_a_class_that_is_too_small_because_its_images_are_broken(empty: Path) -> None:
    write_photos(empty / "photos", count=8)
    for i in range(6):
        (empty / "photos" / "pear" / f"{i:03d}.jpg").write_bytes(b"no image")
    message = invoke("data", "check", "photos").message
    assert "too few images of class 'pear' (2)" in message
    assert "6 corrupt images left out (no image of a known format): pear/000.jpg, " in message


def test_check_of_nothing(empty: Path) -> None:
    assert invoke("data", "check", "nowhere").code == 1
    assert "no data folder 'nowhere'" in invoke("data", "check", "nowhere").message
    assert invoke("data", "chekc").code == 2


def test_check_reads_what_training_only_glances_at(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.data.checks.look.FULL_CHECK_IMAGES", 10)
    photos = write_photos(empty / "photos", count=6)
    whole = (photos / "pear" / "001.jpg").read_bytes()
    (photos / "pear" / "001.jpg").write_bytes(whole[:-60])
    assert open_dataset("photos").corrupt == ()
    result = invoke("data", "check", "photos")
    assert result.code == 1
    assert "1 corrupt image left out (image file is truncated" in result.err
