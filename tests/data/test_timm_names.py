"""Data sets by timm's own names."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from nas.data.batches import eval_batches
from nas.data.opening import open_dataset
from nas.data.sources import stream as data_stream
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from tests.support.cli_runs import write_photos

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.parametrize(
    ("name", "package"), [("hfds/cifar10", "datasets"), ("wds/x", "webdataset"), ("tfds/mnist", "tensorflow-datasets")]
)
def test_missing_packages_are_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=f"pip install .*{package}"):
        open_dataset(name, 0, str(tmp_path))


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Said at once where nothing was downloaded; what was is used, and afterwards the hub is asked again."""
    datasets = pytest.importorskip("datasets")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot open 'hfds/some/photos': http\S+ does not answer \(.*refused\)"):
        open_dataset("hfds/some/photos", 0, str(tmp_path / "cache"))
    assert time.monotonic() - began < 10
    write_photos(tmp_path / "photos", count=8)
    datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "photos"), cache_dir=str(tmp_path / "cache"))
    (made,) = (tmp_path / "cache").glob("imagefolder/*")
    made.rename(tmp_path / "cache" / "made")
    (tmp_path / "cache" / "some___photos").mkdir()
    (tmp_path / "cache" / "made").rename(tmp_path / "cache" / "some___photos" / "default")
    (images,) = (tmp_path / "cache" / "some___photos").rglob("*.arrow")
    images.rename(images.with_name("photos-train.arrow"))
    found = open_dataset("hfds/some/photos", 0, str(tmp_path / "cache"))
    assert sum(found.info.counts.values()) == 24
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_timm_names_without_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs `root`, the folder"):
        open_dataset("torch/cifar10", 0)
    with pytest.raises(UserError, match=r"cannot open 'torch/cifar10' \(train\).*not found"):
        open_dataset("torch/cifar10", 0, str(tmp_path))
    with pytest.raises(UserError, match="Unknown torchvision dataset cifar11"):
        open_dataset("torch/cifar11", 0, str(tmp_path))


def test_streams_are_read_into_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stream(name: str, split: str, **_: object) -> list[tuple[Image.Image, int]]:
        if split == "validation":
            raise ValueError("no such split")
        return [(halves(i if split == "train" else 100 + i), i % 2) for i in range(20 if split == "train" else 6)]

    def halves(red: int) -> Image.Image:
        image = Image.new("RGB", (8, 6), (red, 0, 0))
        image.paste((0, 9, 0), (4, 0, 8, 6))
        return image

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr(timm.data, "create_dataset", stream)
    dataset = open_dataset("tfds/toy", 0, str(tmp_path))
    assert dataset.info.counts == {"train": 16, "search": 4, "test": 6}
    assert dataset.info.classes == ("0", "1")
    assert dataset.image(20).getpixel((0, 0)) == (100, 0, 0)
    monkeypatch.setattr(data_stream, "MEMORY_BYTES", 1000)
    with pytest.raises(UserError, match="only streams"):
        open_dataset("tfds/toy", 0, str(tmp_path))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_torchvision_data_set_by_timm_name(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in DEBIAN.glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    dataset = open_dataset("torch/fashion_mnist", 0, str(tmp_path))
    assert dataset.info.counts == {"train": 55_000, "search": 5_000, "test": 10_000}
    assert dataset.info.in_chans == 1
    assert dataset.info.classes[9] == "Ankle boot"
    assert sorted(dataset.splits["test"]) == list(range(60_000, 70_000))
    assert next(eval_batches(dataset, "test", 28, 4))[0].shape == (4, 1, 28, 28)
