"""Ways to make an input bad: each is a function of nothing that changes files in the working directory."""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from predictors.targets.target import FOLDER
from tests.support.cli_runs import edit_json, half, write_photos

Make = Callable[[], object]


def every(*makes: Make) -> Make:
    """All of them, in turn."""

    def make() -> None:
        for each in makes:
            each()

    return make


def text(path: str, content: str) -> Make:
    return lambda: Path(path).write_text(content)


def raw(path: str, content: bytes) -> Make:
    return lambda: Path(path).write_bytes(content)


def folder(path: str) -> Make:
    return lambda: Path(path).mkdir(parents=True)


def gone(*paths: str) -> Make:
    return lambda: [Path(path).unlink() for path in paths]


def halved(*paths: str) -> Make:
    """Truncated, as by a copy that broke off."""
    return lambda: [half(Path(path)) for path in paths]


def flipped(path: str) -> Make:
    """One bit in the middle is another."""

    def make() -> None:
        content = bytearray(Path(path).read_bytes())
        content[len(content) // 2] ^= 1
        Path(path).write_bytes(content)

    return make


def changed(path: str, **values: object) -> Make:
    """A JSON file with other values on its top level."""
    return lambda: edit_json(Path(path), lambda content: content | values)


def within(path: str, key: str, **values: object) -> Make:
    """A JSON file with other values below ``key``."""
    return lambda: edit_json(Path(path), lambda content: content | {key: content[key] | values})


def rubbish_inside(path: str) -> Make:
    """A line that is none, behind the first."""

    def make() -> None:
        first, end, rest = Path(path).read_bytes().partition(b"\n")
        Path(path).write_bytes(first + end + b"rubbish\n" + rest)

    return make


def unfinished() -> None:
    """A run that was stopped before its last step."""
    Path("run/supernet.safetensors").unlink()
    edit_json(Path("run/run.json"), lambda content: content | {"complete": False})


def photos(*broken: Callable[[Path], object], classes: tuple[str, ...] = ("apple", "pear"), count: int = 6) -> Make:
    """A folder ``mine`` of photos, then changed."""

    def make() -> None:
        place = write_photos(Path("mine"), classes, count)
        for each in broken:
            each(place)

    return make


def splits(**names: tuple[str, ...]) -> Make:
    """A folder ``mine`` of photos below folders of splits, given as split -> classes."""
    return lambda: [write_photos(Path("mine") / split, classes, 4) for split, classes in names.items()]


def no_images(place: Path) -> None:
    """Every file is text with the name of an image."""
    for path in place.glob("*/*.jpg"):
        path.write_text("a letter, not a picture")


def cut_images(place: Path) -> None:
    for path in place.glob("*/*.jpg"):
        half(path)


def cut_one(place: Path) -> None:
    half(place / "pear" / "000.jpg")


def empty_images(place: Path) -> None:
    for path in place.glob("*/*.jpg"):
        path.write_bytes(b"")


def cut_16_bits(place: Path) -> None:
    """16-bit grey images, each cut in the middle."""
    for path in place.glob("*/*.jpg"):
        path.unlink()
        pixels = np.random.default_rng(0).integers(0, 2**16, (32, 32), dtype=np.uint16)
        Image.fromarray(pixels).save(path.with_suffix(".png"))
        half(path.with_suffix(".png"))


def tar(name: str, mode: str = "w") -> Make:
    """The photos of the finished run, packed."""

    def make() -> None:
        with tarfile.open(name, mode) as file:  # type: ignore[call-overload]
            file.add(Path("photos").resolve(), "photos")

    return make


def tar_of_nothing(name: str) -> Make:
    def make() -> None:
        with tarfile.open(name, "w") as file:
            file.addfile(tarfile.TarInfo("read.me"), io.BytesIO())

    return make


class _Opens:
    """What must never be unpickled: it would make a folder ``owned``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("owned",)


def hostile_pickle(path: str) -> Make:
    return lambda: Path(path).write_bytes(pickle.dumps(_Opens()))


def tensors_of_another(path: str) -> Make:
    """A state dictionary of some other network."""
    return lambda: torch.save(torch.nn.Linear(3, 2).state_dict(), path)


def half_of(path: str, name: str) -> Make:
    """A copy that broke off."""
    return lambda: Path(name).write_bytes(Path(path).read_bytes()[:1000])


def toml(content: str) -> Make:
    """A configuration file ``a.toml``."""
    return text("a.toml", content)


def target_with(words: str, others: str) -> Make:
    """The target file of the Raspberry Pi 4 as ``mine.toml``, some words of which are others."""
    return lambda: Path("mine.toml").write_text((FOLDER / "cortex-a72.toml").read_text().replace(words, others))


def exported(*changes: Callable[[Path], object]) -> Make:
    """The exported folder as ``out``, changed."""

    def make() -> None:
        (source,) = Path("run/export").iterdir()
        shutil.copytree(source, "out")
        for change in changes:
            change(Path("out"))

    return make


def remove_exported(place: Path) -> None:
    (place / "model.int8.tflite").unlink()


def halve_exported(place: Path) -> None:
    half(place / "model.int8.tflite")


def halve_manifest(place: Path) -> None:
    half(place / "architecture.json")


def manifest(**values: object) -> Make:
    return exported(lambda place: edit_json(place / "architecture.json", lambda content: content | values))


def newer(path: str) -> Make:
    """A tensor file in a form that a later version writes."""

    def make() -> None:
        from safetensors import safe_open
        from safetensors.torch import save_file

        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["nas"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(found, path, {"nas": json.dumps(note | {"format": 99})})

    return make


def forbidden(path: str) -> Make:
    return lambda: Path(path).chmod(0o000)


def locked_file(path: str) -> Make:
    return every(text(path, ""), forbidden(path))


def locked_folder(path: str) -> Make:
    return every(folder(path), forbidden(path))


def read_only_folder(path: str) -> Make:
    return lambda: Path(path).mkdir(0o500)


@contextmanager
def without_privileges() -> Iterator[bool]:
    """Permissions of files hold for root too: its right to override them is given up for a while, in this thread.

    Yields:
        Whether they hold.
    """
    if os.geteuid() != 0:
        yield True
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    if libc.capget(header, before) != 0:
        yield False
        return
    fewer = (ctypes.c_uint32 * 6)(*before)
    fewer[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    held = libc.capset(header, fewer) == 0
    try:
        yield held
    finally:
        libc.capset(header, before)
