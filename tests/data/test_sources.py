"""Every source of images passes the kit of its kind."""

from __future__ import annotations

import importlib.util
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.sources.source import SOURCES, open_source
from search_spaces.errors import UserError
from tests.kits.source import SourceKit
from tests.support.cli_runs import CLASSES, write_photos
from tests.support.picture_files import pixels_of

TRAIN = {"train": (10, 10, 10)}


def _folder(path: Path) -> SourceKit:
    folder = write_photos(path / "photos", count=10)
    return SourceKit("folder", str(folder), CLASSES, TRAIN, damage=lambda: _cut(folder / "pear" / "003.jpg"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _tar(path: Path) -> SourceKit:
    folder, packed = write_photos(path / "photos", count=10), path / "photos.tar"

    def pack() -> None:
        with tarfile.open(packed, "w") as file:
            file.add(folder, "photos")

    def damage() -> None:
        _cut(folder / "pear" / "003.jpg")
        pack()

    pack()
    return SourceKit("tar", str(packed), CLASSES, TRAIN, damage=damage)


def _shards(path: Path) -> SourceKit:
    pytest.importorskip("webdataset")
    folder = path / "shards"
    folder.mkdir()

    def write(damaged: bool) -> None:
        with tarfile.open(folder / "train-000.tar", "w") as file:
            for i in range(30):
                buffer = io.BytesIO()
                Image.fromarray(pixels_of(i)).save(buffer, "png")
                image = b"broken" if damaged and i == 7 else buffer.getvalue()
                for ending, content in (("png", image), ("cls", str(i % 3).encode())):
                    member = tarfile.TarInfo(f"{i:03d}.{ending}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))

    write(damaged=False)
    return SourceKit("wds", f"wds/{folder}", ("0", "1", "2"), TRAIN, damage=lambda: write(damaged=True))


def _torchvision(path: Path) -> SourceKit:
    """FashionMNIST's own files, with few images."""
    pytest.importorskip("torchvision")
    raw = path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 100), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        sizes = struct.pack(">IIII", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(sizes + images.tobytes())
    names = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    counts = {"train": (10,) * 10, "test": (2,) * 10}
    return SourceKit("torch", "torch/fashion_mnist", names, counts, root=str(path))


@pytest.mark.parametrize("make", [_folder, _tar, _shards, _torchvision])
def test_a_source_passes_the_kit(tmp_path: Path, make: Callable[[Path], SourceKit]) -> None:
    make(tmp_path).check()


def test_every_line_of_the_table_names_a_file() -> None:
    for kind, entry in SOURCES.items():
        assert importlib.util.find_spec(f"nas.data.sources.{entry.module}"), kind


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("nowhere", r"timm's \(torch/..., hfds/..., tfds/..., wds/...\)"),
        ("", "no data folder ''"),
    ],
)
def test_a_name_that_no_source_accepts(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(name)
