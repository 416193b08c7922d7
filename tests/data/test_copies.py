"""The same picture is in one split and under one class only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data.checks.copies import RANKS, sort_out
from nas.data.checks.facts import no_facts
from nas.data.checks.near_copies import FAR, difference_hash, find_near_copies
from nas.data.opening import open_dataset
from nas.data.splits import make_splits
from nas.store.records import SPLITS
from search_spaces.errors import UserError
from tests.support.cli_runs import invoke
from tests.support.picture_files import pixels_of, write_layout

CLASSES = ("a", "b", "c")


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from((0, 0, 1, 2)), st.sampled_from(SPLITS)), min_size=20, max_size=80
    )
)
@settings(max_examples=150, deadline=None)
def test_no_picture_is_in_two_splits_or_classes(rows: list[tuple[int, int, str]]) -> None:
    """Against sets of (picture, class, split)."""
    rows += [(100 + label, label, "train") for label in range(3)]
    facts = no_facts(len(rows))
    facts.pixels = [picture for picture, _, _ in rows]
    labels = np.array([label for _, label, _ in rows])
    parts = {s: np.array([i for i, row in enumerate(rows) if row[2] == s], dtype=np.int64) for s in SPLITS}
    parts = {split: numbers for split, numbers in parts.items() if len(numbers)}
    classes = {picture: {row[1] for row in rows if row[0] == picture} for picture, _, _ in rows}
    best = {picture: max(RANKS[row[2]] for row in rows if row[0] == picture) for picture, _, _ in rows}
    wanted = {
        split: {i for i in numbers if len(classes[rows[i][0]]) == 1 and best[rows[i][0]] == RANKS[split]}
        for split, numbers in parts.items()
    }
    found = sort_out(facts, labels, parts, CLASSES, str, "it")
    assert {split: set(numbers) for split, numbers in found.given.items()} == {
        s: own for s, own in wanted.items() if own
    }
    assert bool(found.notes) == (len(classes) < len(rows))


@given(
    copies=st.lists(st.integers(1, 12), min_size=6, max_size=30),
    cut=st.sampled_from((("search", "test"), ("search",), ("test",))),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_drawn_splits_keep_copies_together(copies: list[int], cut: tuple[str, ...], seed: int) -> None:
    groups = np.repeat(np.arange(len(copies)), copies)
    labels = groups % 2
    order = np.random.default_rng(seed).permutation(len(groups))
    groups, labels = groups[order], labels[order]
    given_splits = {"train": np.arange(len(groups))} | {s: np.array([], dtype=np.int64) for s in RANKS if s not in cut}
    given_splits["train"] = np.arange(len(groups))
    splits = make_splits(labels, given_splits, seed, ("x", "y"), "it", groups)
    owners = [{split for split in SPLITS if set(splits[split]) & set(np.flatnonzero(groups == g))} for g in set(groups)]
    assert all(len(owner) == 1 for owner in owners)
    for split in ("train", *cut):
        assert set(labels[splits[split]]) == {0, 1}, split


def test_without_copies_the_draw_is_the_same(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(3), (20, 30, 40))
    plain = make_splits(labels, {"train": np.arange(90)}, 5, CLASSES, "it")
    grouped = make_splits(labels, {"train": np.arange(90)}, 5, CLASSES, "it", np.random.default_rng(0).permutation(90))
    assert all(np.array_equal(plain[split], grouped[split]) for split in SPLITS)


def test_a_class_of_one_picture_cannot_be_split(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"a": 9, "b": 2})
    for i in range(8):
        shutil.copy(folder / "b" / "00.png", folder / "b" / f"copy{i}.png")
    with pytest.raises(UserError, match=r"too few images of class 'b' \(2\)"):
        open_dataset(str(folder))


def test_a_test_set_that_was_copied_not_moved(tmp_path: Path) -> None:
    """Its images leave the training split, whatever format they are in."""
    folder = write_layout(tmp_path / "x", {"train/a": 20, "train/b": 20})
    for name in ("a", "b"):
        (folder / "test" / name).mkdir(parents=True)
        for i, ending in enumerate(("png", "bmp", "tif", "webp")):
            with Image.open(folder / "train" / name / f"{i:02d}.png") as image:
                image.save(
                    folder / "test" / name / f"other.{ending}", **({"lossless": True} if ending == "webp" else {})
                )
    found = open_dataset(str(folder))
    assert found.info.counts["test"] == 8
    assert sum(found.info.counts.values()) == 40
    assert (
        "8 of 40 training images are in the test split too and are left out of the training split: "
        in found.warnings[0]
    )
    assert "train/a/00.png' is 'test/a/other.png'" in found.warnings[0]
    shutil.rmtree(folder / "test")
    assert open_dataset(str(folder)).warnings == ()


def test_a_test_set_of_training_images_alone_is_refused(empty: Path) -> None:
    write_layout(empty / "dup", {"train/cat": 20, "train/dog": 20})
    shutil.copytree(empty / "dup" / "train", empty / "dup" / "test")
    shutil.copy(empty / "dup" / "train" / "cat" / "00.png", empty / "dup" / "train" / "dog" / "cat0.png")
    result = invoke("data", "check", "dup")
    assert result.code == 1
    assert "no training images of class cat, dog" in result.message
    assert "39 of 41 training images are in the test split too" in result.message
    assert (
        "3 images lie under two classes and are left out: 'test/cat/00.png' as cat is 'train/dog/cat0.png' as dog"
        in (result.message)
    )


def test_a_grey_picture_is_the_same_in_one_channel_or_three(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"a": 8, "b": 8})
    grey = Image.fromarray(pixels_of(500, channels=1))
    grey.save(folder / "a" / "grey.png")
    grey.convert("RGB").save(folder / "b" / "rgb.bmp")
    assert "2 images lie under two classes" in " ".join(open_dataset(str(folder)).warnings)


def test_a_search_split_that_is_the_test_split_is_drawn_anew(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"train/a": 20, "train/b": 20, "test/a": 3, "test/b": 3})
    shutil.copytree(folder / "test", folder / "val")
    found = open_dataset(str(folder))
    assert found.drawn == ("search",)
    assert (found.info.counts["test"], sum(found.info.counts.values())) == (6, 46)
    assert "the search split holds nothing else, so one is drawn from train" in found.warnings


def test_a_file_that_changed_under_its_name_is_another_data_set(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"a": 8, "b": 8})
    before = open_dataset(str(folder)).info
    assert open_dataset(str(folder)).info == before
    Image.fromarray(pixels_of(999)).save(folder / "a" / "00.png")
    after = open_dataset(str(folder)).info
    assert after.fingerprint == before.fingerprint
    assert after.content != before.content
    assert "content" not in open_dataset("embedded").info.to_json()


def test_near_copies_are_found_and_stay(empty: Path) -> None:
    rng = np.random.default_rng(0)
    for split, names in (("train", "ab"), ("test", "ab")):
        for name in names:
            (empty / "x" / split / name).mkdir(parents=True)
            for i in range(6):
                photo = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).resize((96, 64), 3)
                photo.save(empty / "x" / split / name / f"{i}.png")
    with Image.open(empty / "x" / "test" / "a" / "2.png") as photo:
        photo.resize((80, 60)).save(empty / "x" / "train" / "a" / "again.jpg", quality=60)
        assert (difference_hash(photo) ^ difference_hash(photo.resize((48, 32)))).bit_count() <= FAR
    (near,) = find_near_copies(open_dataset("x"))
    assert (near.split, near.other, near.images) == ("train", "test", 1)
    assert near.example == ("train/a/again.jpg", "test/a/2.png")
    result = invoke("data", "check", "x", "--near")
    assert result.code == 0
    assert "1 images of the train split look like images of the test split" in result.err
    assert invoke("data", "check", "x", "--near", "--json").json["near_copies"][0]["images"] == 1
