"""Kinds of images and of files that data come in, each written here."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from nas.data.batches import train_batches
from nas.data.dataset import Dataset
from nas.data.decode import quiet_pil
from nas.data.opening import absolute, open_dataset
from nas.data.preparation import decode
from nas.data.sources.hub import HubImages
from nas.data.sources.tar import TarImages
from nas.store.records import SPLITS
from search_spaces.errors import UserError
from tests.support.pixels import eval_tensors

Folder = Callable[..., Path]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(decode(path)).astype(int)


# kinds of images


def test_16_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = pixels(tmp_path / "deep.png")
    assert np.abs(found - deep / 65535 * 255).max() <= 1
    assert len(np.unique(found)) == 256


def test_palette_transparency_and_cmyk_are_the_colours_they_stand_for(tmp_path: Path) -> None:
    colours = np.array([[(200, 30, 60), (10, 220, 90)], [(250, 250, 5), (0, 0, 0)]], dtype=np.uint8)
    colours = colours.repeat(8, axis=0).repeat(8, axis=1)
    plain = Image.fromarray(colours)
    plain.quantize(4).save(tmp_path / "palette.png")
    plain.quantize(4).save(tmp_path / "palette.gif")
    plain.convert("RGBA").save(tmp_path / "alpha.png")
    # of CMYK without black: red is what cyan leaves
    Image.fromarray(np.dstack([255 - colours, np.zeros((16, 16), np.uint8)]), "CMYK").save(tmp_path / "cmyk.tif")
    for name in ("palette.png", "palette.gif", "alpha.png", "cmyk.tif"):
        assert np.abs(pixels(tmp_path / name) - colours).max() <= 1, name
    faint = plain.convert("RGBA")
    faint.putalpha(7)
    faint.save(tmp_path / "faint.png")
    assert np.array_equal(pixels(tmp_path / "faint.png"), colours)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_photo_upright(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("png", "tif"):
        image.save(tmp_path / f"photo.{ending}", exif=exif)
        with Image.open(tmp_path / f"photo.{ending}") as opened:
            expected = ImageOps.exif_transpose(opened)
        assert expected.size == ((6, 4) if orientation < 5 else (4, 6))
        assert np.array_equal(pixels(tmp_path / f"photo.{ending}"), np.asarray(expected))


def test_damaged_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((4, 6, 3), 99, np.uint8))
    image.save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    with quiet_pil():
        assert pixels(tmp_path / "a.png").shape == (4, 6, 3)


# tar files


def tar_of(folder: Path, path: Path, top: str, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as file:
        file.add(folder, top)
    return path


def same(one: Dataset, other: Dataset) -> None:
    """Equal images, classes and splits."""
    assert (one.info.classes, one.info.mean) == (other.info.classes, other.info.mean)
    for split in SPLITS:
        assert torch.equal(eval_tensors(one, split, 24)[0], eval_tensors(other, split, 24)[0])
        assert torch.equal(eval_tensors(one, split, 24)[1], eval_tensors(other, split, 24)[1])


@pytest.mark.parametrize("top", [".", "photos"])
def test_a_tar_file_is_the_folder_in_it(
    photo_folder: Folder, tmp_path: Path, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo_folder({"a": 6, "b": 6}, "train", size=(24, 24))
    folder = photo_folder({"a": 2, "b": 3}, "val", size=(24, 24))
    (folder / "train" / "a" / "deep").mkdir()
    (folder / "train" / "a" / "000.jpg").rename(folder / "train" / "a" / "deep" / "000.jpg")
    (folder / "train" / "b" / "notes.txt").write_text("no image")
    path = tar_of(folder, tmp_path / "photos.tar", top)
    before = sorted(tmp_path.iterdir())
    packed = open_dataset(str(path), 0)
    same(open_dataset(str(folder), 0), packed)
    assert packed.drawn == ("test",)
    monkeypatch.setattr("nas.data.checks.look.MEMORY_BYTES", 100)
    unheld = open_dataset(str(path), 0)
    assert isinstance(unheld.images, TarImages)
    same(packed, unheld)
    workers = [next(train_batches(unheld, 4, 0, 0, 1, 24, "strong", w))[0] for w in (0, 1)]
    assert torch.equal(*workers)
    assert sorted(tmp_path.iterdir()) == before  # no cache of names, which would be a pickle


def test_tar_files_that_cannot_be_used(photo_folder: Folder, tmp_path: Path) -> None:
    folder = photo_folder({"a": 4, "b": 4})
    (folder / "b" / "002.jpg").write_bytes(b"broken")
    found = open_dataset(str(tar_of(folder, tmp_path / "a.tar", "x")), 0)
    assert found.corrupt == (("x/b/002.jpg", "no image of a known format"),)
    with pytest.raises(UserError, match="give an uncompressed tar file"):
        open_dataset(str(tar_of(folder, tmp_path / "b.tar", "x", "w:gz")), 0)
    (tmp_path / "c.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="give an uncompressed tar file"):
        open_dataset(str(tmp_path / "c.tar"), 0)
    with tarfile.open(tmp_path / "d.tar", "w"):
        pass
    with pytest.raises(UserError, match="holds no images"):
        open_dataset(str(tmp_path / "d.tar"), 0)


# WebDataset


def shard(path: Path, samples: list[tuple[str, bytes, int]]) -> None:
    with tarfile.open(path, "w") as file:
        for key, image, label in samples:
            for ending, content in (("png", image), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))


def encoded(value: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    image = Image.new(mode, (8, 6), value if mode == "L" else (value,) * 3)
    image.paste(255 - value if mode == "L" else (255 - value,) * 3, (4, 3, 8, 6))
    image.save(buffer, "PNG")
    return buffer.getvalue()


needs_webdataset = pytest.mark.skipif(not importlib.util.find_spec("webdataset"), reason="needs webdataset")


@needs_webdataset
def test_shards_by_name_and_a_broken_sample(tmp_path: Path) -> None:
    samples = [(f"{i:03d}", encoded(10 * i), i % 2) for i in range(20)]
    samples[3] = ("003", samples[3][1][:30], 1)
    shard(tmp_path / "toys-train-000.tar", samples[:12])
    shard(tmp_path / "toys-train-001.tar", samples[12:])
    shard(tmp_path / "toys-val-000.tar", [("a", encoded(5), 0), ("b", encoded(6), 1)])
    found = open_dataset(f"wds/{tmp_path}", 0)
    assert found.info.in_chans == 1  # grey stays grey
    assert found.drawn == ("test",)
    assert found.info.counts["search"] == 2
    assert found.info.counts["train"] + found.info.counts["test"] == 19
    assert len(found.corrupt) == 1
    assert found.warnings[0].startswith("1 corrupt sample left out: ")
    held = {found.image(int(n)).getpixel((0, 0)): found.labels[n] for s in ("train", "test") for n in found.splits[s]}
    assert held == {10 * i: i % 2 for i in range(20) if i != 3}
    assert open_dataset(f"wds/{tmp_path.name}", 0, str(tmp_path.parent)).info.counts == found.info.counts


@needs_webdataset
def test_splits_that_the_description_of_shards_names(tmp_path: Path) -> None:
    samples = [(f"{i:03d}", encoded(10 * i), i % 2) for i in range(20)]
    splits = {}
    for name, own in {"train": samples[:16], "validation": samples[16:]}.items():
        shard(tmp_path / f"{len(own)}.tar", own)
        splits[name] = {"name": name, "filenames": [f"{len(own)}.tar"], "shard_lengths": [len(own)],
                        "num_samples": len(own)}  # fmt: skip
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    found = open_dataset(f"wds/{tmp_path}", 0)
    assert found.drawn == ("test",)
    assert sorted(found.image(int(n)).getpixel((0, 0)) for n in found.splits["search"]) == [160, 170, 180, 190]


@needs_webdataset
def test_shards_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no \.tar files"):
        open_dataset(f"wds/{tmp_path}", 0)
    shard(tmp_path / "val-0.tar", [("a", encoded(1), 0)])
    with pytest.raises(UserError, match="has the splits search; it needs shards for training"):
        open_dataset(f"wds/{tmp_path}", 0)
    shard(tmp_path / "train-0.tar", [("a", b"broken", 0), ("b", b"broken", 1)])
    with pytest.raises(UserError, match="holds no images for training; 2 could not be read"):
        open_dataset(f"wds/{tmp_path}", 0)
    (tmp_path / "_info.json").write_text("[")
    with pytest.raises(UserError, match="does not say which splits"):
        open_dataset(f"wds/{tmp_path}", 0)


# Hugging Face

needs_datasets = pytest.mark.skipif(not importlib.util.find_spec("datasets"), reason="needs datasets")


def parquet(folder: Path, split: str, count: int, labels: dict[str, Any], broken: tuple[int, ...] = ()) -> None:
    """A split as the hub keeps it; label columns are functions of the image's number, with a type."""
    import datasets

    first = {"train": 0, "validation": 13, "test": 18}[split]  # no image is in two splits
    shown = [b"broken" if i in broken else encoded(10 * (first + i), "RGB") for i in range(count)]
    images = [{"bytes": each, "path": None} for each in shown]
    features = datasets.Features({"img": datasets.Image(), **{name: kind for name, (kind, _) in labels.items()}})
    columns = {name: [of(i) for i in range(count)] for name, (_, of) in labels.items()}
    table = datasets.Dataset.from_dict({"img": images, **columns}, features=features)
    folder.mkdir(exist_ok=True)
    table.to_parquet(folder / f"{split}-00000.parquet")


@needs_datasets
def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets.disable_progress_bars()
    kind = datasets.ClassLabel(names=["even", "odd"])
    columns = {"fine": (kind, lambda i: i % 2), "coarse": (kind, lambda i: i // 5 % 2),
               "text": (datasets.Value("string"), lambda i: f"t{i % 3}")}  # fmt: skip
    parquet(tmp_path / "toys", "train", 12, columns, broken=(7,))
    parquet(tmp_path / "toys", "validation", 4, columns)
    parquet(tmp_path / "toys", "test", 4, columns)
    name, cache = f"hfds/{tmp_path / 'toys'}", str(tmp_path / "cache")
    with pytest.raises(UserError, match=r"several columns of classes \(fine, coarse\); say which"):
        open_dataset(name, 0, cache)
    with pytest.raises(UserError, match="has no column 'fien', but img, fine, coarse, text"):
        open_dataset(f"{name}:fien", 0, cache)
    found = open_dataset(f"{name}:fine", 0, cache)
    assert found.info.classes == ("even", "odd")
    assert found.info.counts == {"train": 11, "search": 4, "test": 4}
    assert found.drawn == ()
    assert found.corrupt == (("train/7", "no image of a known format"),)
    train = {found.image(int(n)).getpixel((0, 0))[0]: found.labels[n] for n in found.splits["train"]}
    assert train == {10 * i: i % 2 for i in range(12) if i != 7}  # the broken one is not replaced by its neighbour
    monkeypatch.setattr("nas.data.checks.look.MEMORY_BYTES", 100)
    words = open_dataset(f"{name}:text", 0, cache)
    assert words.info.classes == ("t0", "t1", "t2")
    assert not isinstance(words.images, HubImages)  # the usable ones of them
    assert words.image(int(words.splits["test"][0])).mode == "RGB"
    parquet(tmp_path / "blind", "train", 12, {"label": columns["fine"]})
    parquet(tmp_path / "blind", "test", 4, {"label": (kind, lambda i: -1)})
    blind = open_dataset(f"hfds/{tmp_path / 'blind'}", 0, cache)
    assert blind.warnings == ("the test split has no labels and is ignored",)
    assert (blind.drawn, sum(blind.info.counts.values())) == (("search", "test"), 12)
    with pytest.raises(UserError, match=r"cannot open 'hfds/.*nowhere'"):
        open_dataset(f"hfds/{tmp_path / 'nowhere'}", 0, cache)


def test_places_become_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run can be searched from another folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "shards", "embedded"):
        (tmp_path / name).mkdir()
    assert absolute("photos") == str(tmp_path / "photos")
    assert absolute("wds/shards") == f"wds/{tmp_path / 'shards'}"
    for name in ("embedded", "hfds/cifar10", "torch/cifar10", "wds/elsewhere"):
        assert absolute(name) == name
