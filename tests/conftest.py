"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.cli_runs import empty, finished, here  # noqa: F401  (fixtures)
from tests.support.stopping import at_steps  # noqa: F401  (a fixture)

PhotoFolder = Callable[..., Path]

# A shell that starts the tests in the background makes them, and every process they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Cost tables of the tests go to a folder of their own, empty at first; processes that share the tests share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(folder))
        yield folder


# Tests run side by side; more threads each only get in each other's way, and round differently.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Whatever a test does to the number of threads, the next one has one."""
    yield
    torch.set_num_threads(1)


def _typed_code_restored() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_ALLOWED_CODE", os.environ.get("NAS_ALLOWED_CODE", ""))
        yield


# A process of the product runs one command; the tests run many in one. What a test lets be imported, the next may not.
typed_code_of_a_module = pytest.fixture(_typed_code_restored, autouse=True, scope="module")
typed_code_of_a_test = pytest.fixture(_typed_code_restored, autouse=True)


@pytest.fixture
def photo_folder(tmp_path: Path) -> PhotoFolder:
    """``photo_folder(counts, split="", size=(48, 64), mode="RGB", name="photos")`` writes ``counts[class]`` JPEG photos
    of (height, width) a class below ``tmp_path/name/split`` and returns ``tmp_path/name``. A class has its own colour,
    so that a network can learn them.
    """

    def write(
        counts: Mapping[str, int] | None = None,
        split: str = "",
        size: tuple[int, int] = (48, 64),
        mode: str = "RGB",
        name: str = "photos",
    ) -> Path:
        rng = np.random.default_rng([*split.encode()] or 0)  # no photo is in two splits
        for label, (cls, count) in enumerate((counts or {"apple": 12, "pear": 12, "plum": 12}).items()):
            folder = tmp_path / name / split / cls
            folder.mkdir(parents=True, exist_ok=True)
            colour = np.random.default_rng(label).integers(40, 200, 3)
            for i in range(count):
                pixels = np.clip(colour + rng.normal(0, 25, (*size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{i:03d}.jpg", quality=90)
        return tmp_path / name

    return write


@pytest.fixture
def photos(photo_folder: PhotoFolder) -> Path:
    """32 training images of three classes: 8 steps of 4 an epoch."""
    return photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(28, 28))
