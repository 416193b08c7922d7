"""Files that cannot be used are counted, named and explained; what Pillow reads is read, whatever it is called."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from nas.data.folders import formats
from nas.data.folders.formats import ARCHIVE, IMAGE, OTHER, POINTER, UNREAD, endings, kind_of
from nas.data.opening import open_dataset
from nas.store.records import DataInfo
from search_spaces.errors import UserError
from tests.support.cli_runs import invoke
from tests.support.picture_files import pixels_of, write_layout, write_pictures

HEIC = b"\0\0\0\x18ftypheic" + bytes(200)


def encoded(form: str, path: Path) -> bytes:
    image = Image.fromarray(pixels_of(3))
    image.save(path, form)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.PNG", b"", IMAGE), ("a.jpeg", b"", IMAGE), ("a.HEIC", b"", UNREAD), ("a.cr2", b"", UNREAD),
        ("a.dcm", b"", UNREAD), ("a.svg", b"", UNREAD), ("a.zip", b"PK", ARCHIVE), ("a.tar.gz", b"", ARCHIVE),
        ("notes.txt", b"", OTHER), ("labels.csv", b"", OTHER), ("a.json", b"", OTHER), ("a.mp4", b"", OTHER),
        ("a.eps", b"%!PS-Adobe", OTHER), ("Makefile", b"all:\n", OTHER), ("LICENSE", b"Apache License", OTHER),
        ("photo", HEIC, UNREAD), ("photo", b"\x89PNG\r\n\x1a\n", IMAGE), ("1", b"\xff\xd8\xff\xe0", IMAGE),
        ("photo.jpg_large", b"\xff\xd8\xff\xe0", IMAGE), ("scan.001", b"II*\0", IMAGE), ("x", b"BM" + bytes(20), IMAGE),
        ("x", b"GIF89a", IMAGE), ("x", b"RIFF\0\0\0\0WEBPVP8 ", IMAGE), ("x", b"", OTHER),
        ("x", b"version https://git-lfs.github.com/spec/v1", POINTER),
    ],
)  # fmt: skip
def test_what_a_file_is(name: str, head: bytes, kind: str) -> None:
    assert kind_of(name, endings(), lambda: head) == kind


def test_every_ending_that_pillow_opens_is_an_image() -> None:
    """Asked of Pillow itself, but for formats that it only recognises, or has another program run."""
    for ending, form in Image.registered_extensions().items():
        opens = form in Image.OPEN and form not in {"BUFR", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "WMF", "EPS"}
        assert (kind_of(f"x{ending.upper()}", endings(), bytes) == IMAGE) == opens, ending
    assert endings() >= formats.EARLIER


@pytest.mark.parametrize("form", ["AVIF", "PNG", "TGA", "JPEG2000", "QOI", "PPM", "WEBP", "DIB", "PCX", "ICO"])
def test_formats_that_pillow_reads_are_read(tmp_path: Path, form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    if form == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    ending = next(e for e, f in Image.registered_extensions().items() if f == form)
    folder = write_layout(tmp_path / "x", {"a": 6, "b": 6})
    Image.fromarray(pixels_of(200, 16)).save(folder / "a" / f"other{ending}", form)
    assert sum(open_dataset(str(folder)).info.counts.values()) == 13


def test_files_without_an_ending_are_looked_into(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / "x", [f"{name}/{i}" for i in range(8)], 0 if name == "a" else 50)
        (tmp_path / "x" / name / "README").write_text("of this class")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(tmp_path / "x", "x")
    for source in ("x", "x.tar"):
        found = open_dataset(str(tmp_path / source))
        assert sum(found.info.counts.values()) == 16
        assert [w for w in found.warnings if w.startswith("2 files are not images, ignored")]


def test_links_to_nothing_are_counted(empty: Path) -> None:
    write_layout(empty / "x", {"a": 12, "b": 12})
    for name in ("a", "b"):
        for i in range(12):
            (empty / "x" / name / f"l{i}.jpg").symlink_to(f"/nowhere/{name}{i}")
    (empty / "x" / "a" / "notes.txt").symlink_to("/nowhere/notes")
    said = "24 of 48 images left out (link to a file that is not there): a/l0.jpg, "
    result = invoke("data", "check", "x")
    assert result.code == 1
    assert said in result.err
    assert "restore the files or remove the links" in result.err
    assert result.err.count("a/l0.jpg") == 1
    assert "cannot be read" not in result.out
    training = invoke("train-supernet", "--data", "x", "--out", "run", "--dry-run")
    assert (training.code, said in training.err) == (0, True)
    (empty / "x" / "a" / "00.png").unlink()
    (empty / "x" / "a" / "00.png").symlink_to("/nowhere/else")
    assert (
        "25 of 48 images in 'x' cannot be used: 25 of 48 images left out (link" in invoke("data", "check", "x").message
    )


def test_links_in_a_tar_file(tmp_path: Path) -> None:
    """Those to its own files are followed."""
    folder = write_layout(tmp_path / "x", {"a": 8, "b": 8})
    os.link(folder / "a" / "00.png", folder / "a" / "hard.png")
    (folder / "a" / "soft.png").symlink_to("../a/01.png")
    (folder / "b" / "gone.png").symlink_to("/nowhere.png")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(folder, "x")
    found = open_dataset(str(tmp_path / "x.tar"))
    assert sum(found.info.counts.values()) == 18
    assert found.corrupt == (("x/b/gone.png", "link to a file that is not there"),)
    assert any(w.startswith("2 images are copies of others") for w in found.warnings)


def test_each_kind_of_loss_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_layout(tmp_path / "x", {"a": 20, "b": 20})
    (folder / "a" / "IMG_1.HEIC").write_bytes(HEIC)
    (folder / "a" / "renamed.jpg").write_bytes(HEIC)
    (folder / "a" / "scan").write_bytes(bytes(128) + b"DICM" + bytes(200))
    (folder / "a" / "floats.tif").write_bytes(b"II*\0" + bytes(200))
    (folder / "a" / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    (folder / "a" / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "b" / "cut.png").write_bytes((folder / "b" / "00.png").read_bytes()[:100])
    (folder / "b" / "more.zip").write_bytes(b"PK")
    (tmp_path / "deep").mkdir()
    (folder / "b" / "inner").mkdir()
    (folder / "b" / "inner" / "link").symlink_to(tmp_path / "deep")
    os.mkfifo(folder / "b" / "pipe.png")
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8))
    large.save(folder / "b" / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = open_dataset(str(folder))
    assert "truncated" in dict(found.corrupt)["b/cut.png"]
    assert {name: why for name, why in found.corrupt if name != "b/cut.png"} == {
        "a/IMG_1.HEIC": "image of a format that Pillow does not read",
        "a/renamed.jpg": "image of a format that Pillow does not read",
        "a/scan": "image of a format that Pillow does not read",
        "a/floats.tif": "image of a format that Pillow does not read",
        "a/page.jpg": "web page, not an image",
        "a/pointer.png": "Git LFS pointer, not the file itself",
        "a/empty.png": "empty file",
        "b/inner/link": "link to a folder below a class",
        "b/pipe.png": "pipe, socket or device",
        "b/large.png": "more pixels than Pillow decodes",
    }
    said = "\n".join(found.warnings)
    assert (
        "4 of 51 images left out (image of a format that Pillow does not read): a/floats.tif, a/renamed.jpg, "
        "a/IMG_1.HEIC, a/scan; " in said
    )
    assert "convert them to JPEG or PNG" in said
    assert "fetch the files: git lfs pull" in said
    assert "1 archive ignored: b/more.zip; unpack what holds images" in said
    assert "1 corrupt image left out (" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"a": 8, "b": 8})
    (folder / "a" / "00.png").chmod(0)
    assert open_dataset(str(folder)).corrupt == (("a/00.png", "no permission to read it"),)


def test_a_folder_of_unread_photos_is_no_folder_of_nothing(empty: Path) -> None:
    for name in ("a", "b"):
        (empty / "x" / name).mkdir(parents=True)
        for i in range(4):
            (empty / "x" / name / f"IMG_{i}.HEIC").write_bytes(HEIC)
    with pytest.raises(UserError, match=r"8 images, none of which can be used \(a/IMG_0.HEIC: image of a format"):
        open_dataset("x")


def test_runs_of_earlier_versions_see_what_they_saw(tmp_path: Path) -> None:
    """Twelve endings, copies in their places, names of splits from a list."""
    folder = write_layout(tmp_path / "x", {"train/a": 12, "train/b": 12, "dev/a": 3, "dev/b": 3})
    write_pictures(folder, ["train/a/other.tga"], 900)
    (folder / "train" / "b" / "copy.png").write_bytes((folder / "train" / "b" / "00.png").read_bytes())
    (folder / "train" / "a" / "copy.png").write_bytes((folder / "train" / "b" / "00.png").read_bytes())
    now = open_dataset(str(folder)).info
    before = DataInfo.from_json({k: v for k, v in now.to_json().items() if k != "content"})
    earlier = open_dataset(str(folder), trained=before)
    assert earlier.drawn == ("search", "test")
    assert sum(earlier.info.counts.values()) == 26
    assert earlier.info.content == ""
    assert earlier.warnings == (
        "folders beside the splits ignored: dev/ (6 images)",
        "1 file is not an image, ignored: a/other.tga",
    )
    assert now.counts["search"] == 6
    assert sum(now.counts.values()) == 12 + 12 + 6
