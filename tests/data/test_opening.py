"""Data in, batches out: splits, bad input, exact resumption, and the same pixels as timm alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data import batches as data_batches
from nas.data.augment import AUGMENTS, shift_and_flip
from nas.data.batches import calibration_images, eval_batches, train_batches
from nas.data.dataset import Dataset, PixelCache, check_compatible
from nas.data.opening import open_dataset
from nas.data.preparation import to_grey_or_rgb
from nas.data.splits import CAPS, FRACTIONS, make_splits
from nas.store.records import SPLITS, DataInfo
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, UserError
from tests.support.pixels import eval_tensors
from tests.support.shared_data import shared_file

ROOT = Path(__file__).parents[2]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLOTHING = shared_file("images/clothing10_jpeg64.npz")
Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def embedded() -> Dataset:
    return open_dataset("embedded", 0)


@pytest.fixture(scope="module")
def small(embedded: Dataset) -> Dataset:
    """The embedded data set with the first 300 images of each split only."""
    return replace(embedded, splits={s: n[:300] for s, n in embedded.splits.items()}, cache=PixelCache())


def assert_partition(dataset: Dataset) -> None:
    """Every image is in exactly one split."""
    numbers = np.concatenate([dataset.splits[s] for s in SPLITS])
    assert sorted(numbers) == list(range(len(dataset.images)))
    assert dataset.info.counts == {s: len(dataset.splits[s]) for s in SPLITS}


# embedded


def test_embedded_counts_balance_and_size(embedded: Dataset) -> None:
    assert embedded.info.counts == {"train": 12_000, "search": 2_000, "test": 3_000}
    assert (ROOT / "nas" / "data" / "embedded" / "fashion_mnist.npz").stat().st_size <= 7.8e6
    assert embedded.info.num_classes == 10
    assert embedded.info.in_chans == 1
    assert (embedded.info.native_size, embedded.info.crop_pct) == (28, 1.0)
    for split in SPLITS:
        assert len(set(np.bincount(embedded.labels[embedded.splits[split]]))) == 1
    assert_partition(embedded)


def test_embedded_mean_and_std_are_close_to_the_published_ones(embedded: Dataset) -> None:
    assert embedded.info.mean == pytest.approx([0.2860], abs=0.01)  # over the 60,000 training images
    assert embedded.info.std == pytest.approx([0.3530], abs=0.01)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_embedded_can_be_rebuilt(tmp_path: Path) -> None:
    script = ROOT / "tools" / "make_embedded.py"
    subprocess.run([sys.executable, script, tmp_path / "out.npz"], check=True)
    ours, rebuilt = np.load(ROOT / "nas" / "data" / "embedded" / "fashion_mnist.npz"), np.load(tmp_path / "out.npz")
    assert ours.files == rebuilt.files
    assert all(np.array_equal(ours[name], rebuilt[name]) for name in ours.files)
    originals = runpy.run_path(str(script))["read_idx"](DEBIAN / "t10k-images-idx3-ubyte.gz")
    known = {image.tobytes() for image in originals}
    assert all(image.tobytes() in known for image in rebuilt["test_images"])


# splits


@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=8),
    cut=st.sampled_from([("search", "test"), ("search",), ("test",)]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_cut_splits_are_disjoint_stratified_and_a_function_of_the_seed(
    counts: list[int], cut: tuple[str, ...], seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    extra = np.arange(len(counts))  # an image a class for a split that the source gives itself
    every = np.concatenate([labels, extra])
    source = {"train": np.arange(len(labels))}
    source |= {s: len(labels) + extra for s in ("search", "test") if s not in cut}
    classes = [str(i) for i in range(len(counts))]
    splits = make_splits(every, source, seed, classes, "it")
    placed = len(every) if len(cut) == 1 else len(labels)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(placed))
    for name in cut:
        share = np.bincount(every[splits[name]], minlength=len(counts))
        expected = np.array(counts) * FRACTIONS[name]
        assert (share >= np.minimum(2, np.array(counts) // 3)).all()
        # within one of the proportional share, plus rounding of the total, or at the minimum of two
        assert (np.abs(share - expected) <= np.maximum(1.5, 2 - expected + 1e-9)).all()
    assert set(every[splits["train"]]) == set(range(len(counts)))
    again = make_splits(every, source, seed, classes, "it")
    assert all(np.array_equal(splits[s], again[s]) for s in splits)


def test_caps_hold_for_large_data_sets() -> None:
    labels = np.repeat(np.arange(10), 12_000)
    splits = make_splits(labels, {"train": np.arange(len(labels))}, 0, [str(i) for i in range(10)], "it")
    assert {s: len(splits[s]) for s in CAPS} == CAPS


def test_a_prefix_of_a_split_is_stratified() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    splits = make_splits(labels, {"train": np.arange(1000)}, 3, ["a", "b", "c"], "it")
    shares = np.bincount(labels[splits["train"][:100]]) / 100
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


# folders


def test_flat_folder(photo_folder: Folder) -> None:
    dataset = open_dataset(str(photo_folder({"apple": 20, "pear": 30})), 1)
    assert dataset.info.classes == ("apple", "pear")
    assert dataset.info.in_chans == 3
    assert (dataset.info.native_size, dataset.info.crop_pct) == (48, 0.875)
    assert dataset.info.counts == {"train": 37, "search": 5, "test": 8}
    assert dataset.warnings == ()
    assert_partition(dataset)
    for number in range(50):
        assert dataset.images.name(number).startswith(dataset.info.classes[dataset.labels[number]] + "/")


def test_seed_decides_the_splits_and_the_fingerprint_tells(photo_folder: Folder) -> None:
    folder = str(photo_folder())
    one, same, other = (open_dataset(folder, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one.splits[s], same.splits[s]) for s in SPLITS)
    assert one.info == same.info
    assert set(one.splits["test"]) != set(other.splits["test"])
    assert one.info.fingerprint != other.info.fingerprint


def test_given_splits_are_kept(photo_folder: Folder) -> None:
    photo_folder({"a": 9, "b": 9}, "train")
    photo_folder({"a": 2, "b": 3}, "validation")
    dataset = open_dataset(str(photo_folder({"a": 4, "b": 1}, "Test")), 0)
    assert dataset.info.counts == {"train": 18, "search": 5, "test": 5}
    for split, folder in {"train": "train", "search": "validation", "test": "Test"}.items():
        assert {dataset.images.name(int(n)).split("/")[0] for n in dataset.splits[split]} == {folder}


def test_missing_search_split_is_cut_from_train(photo_folder: Folder) -> None:
    photo_folder({"a": 20, "b": 20}, "train")
    dataset = open_dataset(str(photo_folder({"a": 4}, "test")), 0)
    assert dataset.info.counts == {"train": 36, "search": 4, "test": 4}
    assert dataset.warnings == ("the test split has no image of class b",)
    assert_partition(dataset)


def test_a_class_may_be_called_train(photo_folder: Folder) -> None:
    assert open_dataset(str(photo_folder({"car": 5, "train": 5})), 0).info.classes == ("car", "train")


def test_mean_and_std_equal_numpy(photo_folder: Folder) -> None:
    folder = photo_folder({"a": 10, "b": 14})
    dataset = open_dataset(str(folder), 0)
    files = [folder / dataset.images.name(int(n)) for n in dataset.splits["train"]]
    pixels = np.stack([np.asarray(Image.open(f)) for f in files]).reshape(-1, 3) / 255
    assert dataset.info.mean == pytest.approx(pixels.mean(0), abs=1e-5)
    assert dataset.info.std == pytest.approx(pixels.std(0), abs=1e-5)


def test_grey_folder_has_one_channel_until_a_colour_image_joins(photo_folder: Folder) -> None:
    folder = photo_folder({"a": 8, "b": 8}, mode="L")
    grey = open_dataset(str(folder), 0)
    assert grey.info.in_chans == len(grey.info.mean) == len(grey.info.std) == 1
    assert eval_tensors(grey, "test", 16)[0].shape[1:] == (1, 16, 16)
    assert next(train_batches(grey, 4, 0, 0, 1, 16, "strong"))[0].shape == (4, 1, 16, 16)
    colour = open_dataset(str(photo_folder({"c": 8})), 0)
    assert colour.info.in_chans == 3


def test_odd_modes_become_grey_or_rgb() -> None:
    deep = Image.fromarray((np.arange(256, dtype=np.uint16) * 256 + 7).reshape(16, 16))
    assert np.array_equal(np.asarray(to_grey_or_rgb(deep)).ravel(), np.arange(256))
    modes = {"1": "L", "LA": "L", "F": "L", "P": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
    for mode, expected in modes.items():
        assert to_grey_or_rgb(Image.new(mode, (4, 4))).mode == expected


def test_too_large_for_memory_reads_the_same_pixels_from_files(
    photo_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(photo_folder())
    held = open_dataset(folder, 0)
    for module in ("batches", "checks.look"):
        monkeypatch.setattr(f"nas.data.{module}.MEMORY_BYTES", 10_000)
    monkeypatch.setattr(data_batches, "CACHE_BYTES", 10_000)
    from_files = open_dataset(folder, 0)
    assert type(held.images) is not type(from_files.images)
    assert held.info == from_files.info
    for augment in ("none", "light"):
        a, b = (next(train_batches(d, 8, 0, 3, 1, 32, augment))[0] for d in (held, from_files))
        assert torch.equal(a, b)
    assert torch.equal(eval_tensors(held, "test", 32)[0], eval_tensors(from_files, "test", 32)[0])


# bad input


def test_missing_folder_and_misspelt_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data folder '.*nowhere'; give a folder"):
        open_dataset(str(tmp_path / "nowhere"), 0)
    with pytest.raises(UserError, match="did you mean 'embedded'"):
        open_dataset("embeded", 0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is not a folder"):
        open_dataset(str(tmp_path / "file"), 0)


def test_folder_without_usable_classes(photo_folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        open_dataset(str(tmp_path / "empty"), 0)
    loose = photo_folder({"a": 3}, name="loose")
    with pytest.raises(UserError, match="one class only, 'a'"):
        open_dataset(str(loose), 0)
    with pytest.raises(UserError, match="holds 3 images without class sub-folders"):
        open_dataset(str(loose / "a"), 0)


def test_class_too_small_for_the_splits(photo_folder: Folder) -> None:
    with pytest.raises(UserError, match=r"too few images of class 'rare' \(2\).*train, search, test need at least 3"):
        open_dataset(str(photo_folder({"common": 9, "rare": 2})), 0)


def test_split_folders_that_make_no_sense(photo_folder: Folder) -> None:
    folder = photo_folder({"a": 9, "b": 9}, "val")
    with pytest.raises(UserError, match="has val/ but no train/"):
        open_dataset(str(folder), 0)
    photo_folder({"a": 9, "b": 9}, "train")
    photo_folder({"c": 2}, "test")
    with pytest.raises(UserError, match=r"test' has class c, which .*train' has not"):
        open_dataset(str(folder), 0)
    photo_folder({"a": 2}, "validation")
    with pytest.raises(UserError, match="has both val/ and validation/"):
        open_dataset(str(folder), 0)


def test_other_files_are_ignored_with_a_note(photo_folder: Folder) -> None:
    folder = photo_folder()
    (folder / "apple" / "notes.txt").write_text("not an image")
    (folder / "apple" / ".DS_Store").write_text("hidden")
    (folder / "README.md").write_text("beside the classes")
    dataset = open_dataset(str(folder), 0)
    assert len(dataset.images) == 36
    assert dataset.warnings == ("1 file is not an image, ignored: apple/notes.txt",)


def test_corrupt_images_are_left_out_by_name(photo_folder: Folder) -> None:
    folder = photo_folder()
    whole = (folder / "pear" / "003.jpg").read_bytes()
    (folder / "pear" / "003.jpg").write_bytes(whole[: len(whole) // 2])  # truncated: the header is fine
    (folder / "plum" / "000.jpg").write_bytes(b"")
    (folder / "plum" / "001.jpg").write_text("no image at all")
    (folder / "plum" / "002.jpg").write_bytes(whole[:100] + bytes(500))
    dataset = open_dataset(str(folder), 0)
    assert len(dataset.images) == 32
    reasons = dict(dataset.corrupt)
    assert dataset.warnings == (
        f"3 corrupt images left out: pear/003.jpg ({reasons['pear/003.jpg']}), "
        f"plum/001.jpg (no image of a known format), plum/002.jpg ({reasons['plum/002.jpg']})",
        "1 of 36 images left out (empty file): plum/000.jpg; copy them again",
    )
    assert "truncated" in reasons["pear/003.jpg"]
    assert reasons["plum/001.jpg"] == "no image of a known format"
    assert_partition(dataset)


def test_mostly_corrupt_folder_is_refused(photo_folder: Folder) -> None:
    folder = photo_folder({"a": 5, "b": 5})
    for i in range(5):
        (folder / "a" / f"{i:03d}.jpg").write_text("broken")
    (folder / "b" / "000.jpg").write_text("broken")
    with pytest.raises(
        UserError,
        match=r"6 of 10 images in .* cannot be used: 6 corrupt images left out \(no image of a known format\): a/0",
    ):
        open_dataset(str(folder), 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_later_is_named(
    photo_folder: Folder, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("nas.data.checks.look.FULL_CHECK_IMAGES", 10)
    folder = photo_folder()
    dataset = open_dataset(str(folder), 0)
    assert "only the headers of 36 images were checked" in dataset.warnings[0]
    name = dataset.images.name(int(dataset.splits["train"][0]))
    (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(UserError, match=rf"^cannot decode '.*{name}'"):
        list(train_batches(dataset, 9, 0, 0, 3, 32, "light", workers))


def test_compatibility_of_a_run_and_data(photo_folder: Folder, embedded: Dataset) -> None:
    photos = open_dataset(str(photo_folder()), 0).info
    check_compatible(photos, replace(photos, source="elsewhere", mean=(0.5,) * 3))
    with pytest.raises(UserError, match=r"'embedded' with 1-channel images, but '.*photos' has 3-channel"):
        check_compatible(embedded.info, photos)
    with pytest.raises(UserError, match=r"3 classes, 'new' has 2: missing plum"):
        check_compatible(photos, replace(photos, source="new", classes=photos.classes[:2]))
    with pytest.raises(UserError, match="another order"):
        check_compatible(photos, replace(photos, source="new", classes=photos.classes[::-1]))


def test_info_survives_json(embedded: Dataset) -> None:
    info = embedded.info
    assert DataInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    with pytest.raises(UserError, match="mean"):
        DataInfo.from_json({k: v for k, v in info.to_json().items() if k != "mean"})


# training batches


@pytest.mark.parametrize("augment", ["light", "strong"])
@pytest.mark.parametrize("kind", ["embedded", "photos"])
def test_a_step_is_the_same_wherever_the_run_starts_and_whoever_works(
    augment: str, kind: str, small: Dataset, photo_folder: Folder
) -> None:
    dataset = small if kind == "embedded" else open_dataset(str(photo_folder()), 0)
    batch, size, steps = 8, 24, 6  # photos: 27 training images, so an epoch of 3 steps is crossed
    whole = list(train_batches(dataset, batch, 7, 0, steps, size, augment))
    assert len(whole) == steps
    assert not torch.equal(whole[0][0], whole[1][0])
    for start, workers in ((4, 0), (0, 2), (3, 2)):
        tail = list(train_batches(dataset, batch, 7, start, steps - start, size, augment, workers))
        for (images, labels), (again, labels_again) in zip(whole[start:], tail, strict=True):
            assert torch.equal(images, again)
            assert torch.equal(labels, labels_again)
    other = next(train_batches(dataset, batch, 8, 0, 1, size, augment))
    assert not torch.equal(whole[0][0], other[0])
    assert whole[0][0].dtype == torch.float32
    assert whole[0][1].dtype == torch.int64


@pytest.mark.parametrize("augment", AUGMENTS)
def test_global_generators_are_left_alone(augment: str, photo_folder: Folder) -> None:
    dataset = open_dataset(str(photo_folder()), 0)

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    expected = []
    for consume in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if consume:
            list(train_batches(dataset, 8, 0, 0, 2, 32, augment))
        expected.append(drawn())
    assert expected[0] == expected[1]


def test_an_epoch_visits_every_image_once(photo_folder: Folder) -> None:
    dataset = open_dataset(str(photo_folder({"a": 24, "b": 24})), 0)
    steps = data_batches.TrainSteps(dataset, 9, 0, 16, "none")
    assert len(dataset.splits["train"]) == 36
    for epoch in range(3):
        seen = np.concatenate([steps.chosen(4 * epoch + i) for i in range(4)])
        assert sorted(seen) == list(range(36))
    assert not np.array_equal(steps.chosen(0), steps.chosen(4))


def test_a_split_smaller_than_a_batch_is_repeated_evenly(photo_folder: Folder) -> None:
    dataset = open_dataset(str(photo_folder({"a": 6, "b": 6})), 0)
    n = len(dataset.splits["train"])
    images, labels = next(train_batches(dataset, 5 * n + 1, 0, 2, 1, 16, "light"))
    assert images.shape == (5 * n + 1, 3, 16, 16)
    steps = data_batches.TrainSteps(dataset, 5 * n + 1, 0, 16, "light")
    assert set(np.bincount(steps.chosen(2), minlength=n)) == {5, 6}
    assert len(labels) == 5 * n + 1


def test_shift_and_flip_equals_a_plain_loop() -> None:
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    moved = shift_and_flip(pixels, torch.Generator().manual_seed(5))
    kinds = set()
    for before, after in zip(pixels, moved, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        matches = [
            (dy, dx, flip)
            for dy in range(5)
            for dx in range(5)
            for flip in (False, True)
            if torch.equal(padded[:, dy : dy + 16, dx : dx + 16].flip(2) if flip else
                           padded[:, dy : dy + 16, dx : dx + 16], after)
        ]  # fmt: skip
        assert len(matches) == 1
        kinds.add(matches[0])
    assert len(kinds) > 20
    assert {flip for *_, flip in kinds} == {False, True}


def test_no_augmentation_is_the_evaluation_transform(small: Dataset) -> None:
    images, labels = next(train_batches(small, 16, 0, 5, 1, 32, "none"))
    steps = data_batches.TrainSteps(small, 16, 0, 32, "none")
    expected, expected_labels = eval_tensors(small, "train", 32)
    assert torch.equal(images, expected[steps.chosen(5)])
    assert torch.equal(labels, expected_labels[steps.chosen(5)])


def test_unknown_augmentation_and_empty_batch_fail_at_once(embedded: Dataset) -> None:
    with pytest.raises(UsageError, match="unknown augmentation 'strng'; did you mean 'strong'"):
        train_batches(embedded, 8, 0, 0, 1, 28, "strng")
    with pytest.raises(UsageError, match="batch size of 0"):
        train_batches(embedded, 0, 0, 0, 1, 28)


def test_workers_end_when_the_iterator_is_closed_early(photo_folder: Folder) -> None:
    dataset = open_dataset(str(photo_folder()), 0)
    batches = train_batches(dataset, 4, 0, 0, 1000, 16, "light", 2)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


@pytest.mark.long
def test_ctrl_c_ends_workers_without_their_tracebacks(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "from nas.data.batches import train_batches\n"
        "from nas.data.opening import open_dataset\n"
        "if __name__ == '__main__':\n"
        "    batches = train_batches(open_dataset(), 64, 0, 0, 10_000, 28, 'light', 2)\n"
        "    try:\n"
        "        for i, _ in enumerate(batches):\n"
        "            if i == 5:\n"
        "                os.killpg(0, signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        batches.close()\n"
        "        print('saved')\n"
    )
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "saved\n", "")
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


# evaluation


@pytest.mark.parametrize("kind", ["embedded", "photos", "grey"])
@pytest.mark.parametrize("resolution", [28, 40])
def test_evaluation_pixels_equal_timm_alone(
    kind: str, resolution: int, embedded: Dataset, photo_folder: Folder
) -> None:
    dataset = embedded
    if kind != "embedded":
        dataset = open_dataset(str(photo_folder(mode="L" if kind == "grey" else "RGB")), 0)
    info = dataset.info
    transform = timm.data.create_transform(
        input_size=(info.in_chans, resolution, resolution),
        mean=info.mean,
        std=info.std,
        interpolation=info.interpolation,
        crop_pct=info.crop_pct,
        is_training=False,
    )
    numbers = dataset.splits["test"][:20]
    expected = torch.stack([transform(dataset.image(int(n))) for n in numbers])
    images, labels = eval_tensors(dataset, "test", resolution, 20)
    assert torch.equal(images, expected)
    assert labels.tolist() == dataset.labels[numbers].tolist()
    if kind != "embedded":  # and from the file itself, without this project
        path = Path(info.source) / dataset.images.name(int(numbers[0]))
        assert torch.equal(images[0], transform(Image.open(path)))
    batches = list(eval_batches(dataset, "test", resolution, 3, 5))
    assert [len(b[0]) for b in batches] == [3, 2] if len(numbers) >= 5 else True
    assert torch.equal(torch.cat([b[0] for b in batches]), images[:5])


def test_a_longer_limit_extends_the_cache(embedded: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = replace(embedded, cache=PixelCache())
    made = []
    plain = data_batches.eval_pixels

    def counted(d: Dataset, numbers: np.ndarray, resolution: int) -> torch.Tensor:
        made.append(len(numbers))
        return plain(d, numbers, resolution)

    monkeypatch.setattr(data_batches, "eval_pixels", counted)
    for limit in (10, 10, 30, 5, 30):
        eval_tensors(dataset, "search", 28, limit)
    assert made == [10, 20]
    assert torch.equal(eval_tensors(dataset, "search", 28, 30)[0], eval_tensors(embedded, "search", 28, 30)[0])


def test_the_cache_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.data.dataset.CACHE_BYTES", 25)
    cache, made = PixelCache(), []

    def make(start: int, stop: int) -> torch.Tensor:
        made.append(stop - start)
        return torch.zeros(stop - start, dtype=torch.uint8)

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.first((key,), 10, make)
    assert len(made) == 4  # a, b, c, and b again, which was the least recently used


def test_normalisation_follows_the_info_of_a_checkpoint(embedded: Dataset) -> None:
    other = replace(embedded, info=replace(embedded.info, mean=(0.0,), std=(1.0,)))
    plain, _ = eval_tensors(other, "test", 28, 8)
    images, _ = eval_tensors(embedded, "test", 28, 8)
    assert torch.allclose(images * embedded.info.std[0] + embedded.info.mean[0], plain, atol=1e-6)
    rgb = replace(embedded, info=replace(embedded.info, in_chans=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    assert torch.equal(eval_tensors(rgb, "test", 28, 8)[0], plain.expand(-1, 3, -1, -1))


def test_calibration_images_are_training_images_with_classes_mixed(small: Dataset) -> None:
    images = calibration_images(small, 28, 100)
    assert images.shape == (100, 1, 28, 28)
    assert set(np.bincount(small.labels[small.splits["train"][:100]])) == {10}
    assert torch.equal(images, eval_tensors(small, "train", 28)[0][:100])
    assert len(calibration_images(small, 28, 10**6)) == 300


def test_unknown_split(embedded: Dataset) -> None:
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        eval_tensors(embedded, "tset", 28)


@pytest.mark.skipif(not CLOTHING.exists(), reason=f"needs {CLOTHING.name} in NAS_BENCH_DATA")
def test_clothing_photos(tmp_path: Path) -> None:
    folder = tmp_path / "clothing"
    subprocess.run([sys.executable, "-m", "benchmarks.support.image_folder", CLOTHING, folder], check=True, cwd=ROOT)
    dataset = open_dataset(str(folder), 0)
    assert dataset.info.counts == {"train": 3068, "search": 341, "test": 372}
    assert (dataset.info.num_classes, dataset.info.in_chans, dataset.warnings) == (10, 3, ())
    images, labels = next(train_batches(dataset, 64, 0, 0, 1, 56, "light"))
    assert images.shape == (64, 3, 56, 56)
    assert len(labels.unique()) > 5
    assert eval_tensors(dataset, "test", 56)[0].mean().abs() < 0.2
