"""Splits and classes are told apart by what folders hold, under any spelling and nesting."""

from __future__ import annotations

import tarfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.data.folders.arrange import arrange
from nas.data.folders.formats import IMAGE, UNREAD
from nas.data.folders.split_names import role_of, roles_of, split_names
from nas.data.folders.tree import Tree, tree_of
from nas.data.opening import open_dataset
from search_spaces.errors import UsageError, UserError
from tests.support.cli_runs import invoke
from tests.support.picture_files import write_layout

SPELLINGS = {
    "train": ("train", "Train", "TRAIN", "training_set", "Train_Images", "trainset", "seg_train", "my-training-data",
              "TrainImages", "train2017", "01 train", "trn"),
    "search": ("val", "valid", "validation", "Validation_Set", "valset", "dev", "seg_val", "imagesVal"),
    "test": ("test", "Test", "testing", "test_set", "TestImages", "seg_test", "testset", "holdout", "hold-out", "eval",
             "Evaluation"),
}  # fmt: skip
Names = tuple[str, ...]
WRAPPERS = ((), ("dataset",), ("archive", "images"))


def tree(files: list[str]) -> Tree:
    return tree_of((file, IMAGE) for file in files)


def read(files: list[str], layout: str = "auto") -> dict[str, dict[str, list[str]]]:
    """Names of images by class, by split."""
    found = arrange(tree(files), "it", layout)
    out: dict[str, dict[str, list[str]]] = {}
    for name, label, split in zip(found.names, found.labels, found.splits, strict=True):
        out.setdefault(split, {}).setdefault(found.classes[label], []).append(name)
    return out


def images(folder: str, classes: tuple[str, ...] = ("cats", "dogs"), count: int = 2) -> list[str]:
    return [f"{folder}/{name}/{i}.png" for name in classes for i in range(count)]


@given(
    spelled=st.tuples(*(st.sampled_from(names) for names in SPELLINGS.values())),
    present=st.sets(st.sampled_from(("search", "test")), min_size=1),
    above=st.sampled_from(WRAPPERS),
    within=st.sampled_from(((), ("images",), ("same",))),
    classes=st.sampled_from((("cats", "dogs"), ("train", "bus"), ("test", "control", "x"), ("0", "1"))),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_splits_under_any_spelling_and_nesting(
    spelled: tuple[str, ...],
    present: set[str],
    above: tuple[str, ...],
    within: tuple[str, ...],
    classes: tuple[str, ...],
) -> None:
    names = dict(zip(SPELLINGS, spelled, strict=True))
    wanted: dict[str, dict[str, set[str]]] = {}
    for split in ("train", *sorted(present)):
        inner = [names[split]] if within == ("same",) else [*within]
        place = "/".join([*above, names[split], *inner])
        wanted[split] = {c: {f"{place}/{c}/{i}.png" for i in range(2)} for c in classes}
    files = [name for by_class in wanted.values() for own in by_class.values() for name in own]
    if present == {"search"} and roles_of([names["train"], names["search"]])[names["search"]] != "search":
        return
    found = read(files)
    assert {s: {c: set(own) for c, own in by_class.items()} for s, by_class in found.items()} == wanted


@pytest.mark.parametrize(
    ("name", "role"),
    [("seg_train", "train"), ("valley", None), ("contest", None), ("trains", None), ("train_test", None),
     ("control", None), ("attested", None), ("Testdaten", "test"), ("Trainingsdaten", "train"), ("eval", "held"),
     ("developer", None), ("X_trainImages_2", "train"), ("latest", None), ("invalid", None)],
)  # fmt: skip
def test_words_that_mean_a_split(name: str, role: str | None) -> None:
    assert role_of(name) == role


def test_what_is_held_out_is_the_test_split_unless_there_is_one() -> None:
    assert roles_of(["train", "eval"]) == {"train": "train", "eval": "test"}
    assert roles_of(["train", "val", "evaluation"])["evaluation"] == "test"
    assert roles_of(["train", "eval", "test"])["eval"] == "search"


def test_splits_that_a_data_set_lists() -> None:
    assert split_names(["unsupervised", "test", "train", "train_full"]) == {"test": "test", "train": "train"}
    assert split_names(["train", "dev"]) == {"train": "train", "search": "dev"}
    assert split_names(["train", "dev"], earlier=True) == {"train": "train"}


@pytest.mark.parametrize(
    "names", [("car", "train"), ("train", "bus", "tram"), ("test", "control"), ("positive_test", "negative_test")]
)
def test_classes_may_have_the_names_of_splits(names: tuple[str, ...]) -> None:
    assert set(read([f"{name}/{i}.png" for name in names for i in range(3)])["train"]) == set(names)


def test_a_class_called_train_may_have_folders_of_its_own() -> None:
    files = [f"plane/{kind}/{i}.png" for kind in ("jet", "prop") for i in range(2)]
    files += [f"train/{kind}/{i}.png" for kind in ("steam", "electric") for i in range(2)]
    with pytest.raises(UserError, match=r"two ways: plane, train are classes, or .* splits of the classes jet, prop"):
        read(files)
    assert set(read(files, "classes")["train"]) == {"plane", "train"}
    assert set(read(files, "splits")["train"]) == {"steam", "electric"}


def test_classes_above_and_splits_below() -> None:
    files = [f"{c}/{split}/{i}.png" for c in ("cat", "dog") for split in ("training", "test") for i in range(2)]
    found = read(files)
    assert set(found) == {"train", "test"}
    assert found["test"] == {c: [f"{c}/test/{i}.png" for i in range(2)] for c in ("cat", "dog")}
    assert len(read(files, "classes")["train"]["cat"]) == 4


def test_the_same_sub_folders_without_a_word_that_says_which() -> None:
    files = images("color") + images("grayscale") + images("segmented")
    with pytest.raises(UserError, match=r"color, grayscale, segmented are classes, or they are splits .* cats, dogs"):
        read(files)
    assert set(read(files, "classes")["train"]) == {"color", "grayscale", "segmented"}
    with pytest.raises(UserError, match="but no train/"):
        read(files, "splits")


def test_unlabelled_images_beside_splits_are_counted() -> None:
    """As in Kaggle's sets: seg_pred/seg_pred/*.jpg."""
    files = (
        images("seg_train/seg_train") + images("seg_test/seg_test") + [f"seg_pred/seg_pred/{i}.png" for i in range(5)]
    )
    found = arrange(tree(files), "it")
    assert set(found.splits) == {"train", "test"}
    assert found.notes == ["folders beside the splits ignored: seg_pred/ (5 images)"]
    files = images("train") + [f"test/{i}.png" for i in range(3)]
    found = arrange(tree(files), "it")
    assert set(found.splits) == {"train"}
    assert found.notes == ["folders beside the splits ignored: test/ (3 images)"]


@pytest.mark.parametrize("names", [("train", "test"), ("training_set", "test_set"), ("Train", "val", "Test")])
@pytest.mark.parametrize("inner", ["", "images/"])
def test_splits_without_class_folders_are_no_classes(names: tuple[str, ...], inner: str) -> None:
    files = [f"{name}/{inner}{i}.png" for name in names for i in range(3)]
    with pytest.raises(UserError, match=r"look like splits, whose images have no labels; .*`layout` classes"):
        read(files)
    assert set(read(files, "classes")["train"]) == set(names)


def test_an_empty_folder_may_be_a_class_beside_the_only_one_with_images() -> None:
    root = tree([f"a/{kind}/{i}.png" for kind in "xy" for i in range(2)])
    root.folder("b")
    assert arrange(root, "it").classes == ("a", "b")


@given(forms=st.lists(st.sampled_from(("NFC", "NFD", "NFKC", "NFKD")), min_size=4, max_size=4))
@settings(max_examples=20, deadline=None)
def test_unicode_forms_of_a_name_are_one_class(forms: list[str]) -> None:
    files = [
        f"{split}/{unicodedata.normalize(form, name)}/{form}{i}.png"
        for split, pair in (("train", forms[:2]), ("val", forms[2:]))
        for form in pair
        for name in ("Äpfel", "Birnen", "ガス")
        for i in range(2)
    ]
    found = read(sorted(set(files)))
    assert set(found["train"]) == set(found["search"]) == {"Äpfel", "Birnen", "ガス"}
    assert sum(len(own) for own in found["train"].values()) == 3 * 2 * len(set(forms[:2]))


def test_names_that_differ_in_capitals_only_are_said() -> None:
    with pytest.raises(UserError, match=r"has class cat, which .* has not \('cat' and 'Cat' differ in capitals only\)"):
        read(images("train", ("Cat", "dog")) + images("test", ("cat", "dog")))
    found = arrange(tree([f"{c}/{i}.png" for c in ("Cat", "cat", "dog") for i in range(2)]), "it")
    assert found.notes == ["classes whose names differ in capitals only: Cat, cat"]


def test_images_outside_of_class_folders_are_counted() -> None:
    found = arrange(tree([*images("train"), *images("test"), "train/stray.png", "top.png"]), "it")
    assert found.notes == ["2 images outside of class folders ignored: top.png, train/stray.png"]


def test_lost_images_alone_are_no_class_of_nothing() -> None:
    with pytest.raises(UserError, match=r"4 images, none of which can be used \(a/0.heic: image of a format"):
        arrange(tree_of((f"{c}/{i}.heic", UNREAD) for c in "ab" for i in range(2)), "it")


def test_a_layout_is_a_setting_that_the_run_remembers(empty: Path) -> None:
    write_layout(empty / "parts", {f"{part}/{c}": 6 for part in ("left", "right") for c in ("ill", "healthy")})
    refused = invoke("data", "check", "parts")
    assert (refused.code, "give --layout classes, or splits" in refused.err) == (1, True)
    assert "2 classes" in invoke("data", "check", "parts", "--layout", "classes").out
    words = ("train-supernet", "--data", "parts", "--epochs", "0.1", "--batch-size", "4", "--workers", "0")
    trained = invoke(*words, "--out", "run", "--layout", "classes", "--json")
    assert trained.json["data"]["classes"] == ["left", "right"]
    assert trained.json["config"]["layout"] == "classes"
    resumed = invoke(*words, "--out", "run", "--layout", "classes", "--json")
    assert resumed.json == trained.json
    other = invoke(*words, "--out", "run", "--layout", "splits")
    assert (other.code, "layout 'classes' there, 'splits' here" in other.err) == (2, True)
    assert invoke("data", "check", "parts", "--layout", "splitz").code == 2
    with pytest.raises(UsageError, match="'embedded' lists its splits itself"):
        open_dataset("embedded", layout="splits")


def test_a_tar_file_is_read_as_the_folder_in_it(tmp_path: Path) -> None:
    folder = write_layout(
        tmp_path / "x", {f"{split}/{c}": 3 for split in ("training_set", "test_set") for c in ("cats", "dogs")}
    )
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(folder, "top/x")
    for source in (folder, tmp_path / "x.tar"):
        found = open_dataset(str(source))
        assert found.info.classes == ("cats", "dogs")
        assert found.info.counts["test"] == 6
        assert found.drawn == ("search",)
