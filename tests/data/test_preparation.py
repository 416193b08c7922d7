"""From a file to a network's input: what training, scripts and timm make of it are equal."""

from __future__ import annotations

import math
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.support.image_kinds import DEEP, Kind, expected, kinds, write
from nas.data.dataset import Dataset
from nas.data.decode import FileImages
from nas.data.preparation import decode, prepare, to_grey_or_rgb, with_channels
from nas.data.transforms import eval_transform, normalise
from nas.export.check import read_file
from nas.export.device_script import device_script
from nas.runtimes.table import get_runtime
from nas.store.exports import Input
from nas.store.records import DataInfo
from nas.tasks.task import get_task
from search_spaces.builders.timm_compat import timm
from search_spaces.schema import to_json

KINDS = kinds()
MEAN, STD = (0.5, 0.41, 0.3), (0.2, 0.33, 0.25)


LEVELS = (None, (0, 4095), (-100, 9000), (0.0, 1.0), (0.5, 7000.25))
CASES = [(kind, levels) for kind in KINDS for levels in (LEVELS if kind.mode in DEEP else LEVELS[:1])]


@pytest.mark.parametrize(("kind", "levels"), CASES, ids=str)
def test_a_decoded_file_is_what_pillow_and_the_levels_say(
    tmp_path: Path, kind: Kind, levels: tuple[float, float] | None
) -> None:
    path = tmp_path / f"image.{kind.ending}"
    white = levels[1] * 1.1 if levels else 255 if kind.mode == "F" else 65535
    write(kind, path, (9, 7), np.random.default_rng(0), white)
    found, wanted = np.asarray(decode(path, levels)), expected(path, levels)
    assert np.array_equal(found, wanted)
    assert found.shape[:2] == ((9, 7) if kind.orientation >= 5 else (7, 9))
    assert len(np.unique(found)) > 2 or kind.mode == "1" or (kind.mode != "F" and white < 3)


@pytest.mark.parametrize("mode", ["La", "RGBa", "HSV", "I;16N", "I;16L", "RGBX", "LAB"])
def test_modes_that_no_file_has(mode: str) -> None:
    found = to_grey_or_rgb(Image.new(mode, (5, 4)), (0, 4095))
    assert (found.mode, found.size) == ("RGB" if mode in ("RGBa", "HSV", "RGBX", "LAB") else "L", (5, 4))


def test_colours_multiplied_by_their_alpha_are_divided_again() -> None:
    plain = Image.new("RGBA", (2, 2), (200, 100, 50, 128))
    assert to_grey_or_rgb(plain.convert("RGBa")).getpixel((0, 0)) == pytest.approx((200, 100, 50), abs=2)


def test_what_is_no_number_is_black_and_what_is_beyond_is_clipped() -> None:
    values = np.array([[math.nan, -math.inf, -1, 0, 0.5, 1, 2, math.inf]], np.float32)
    assert np.asarray(to_grey_or_rgb(Image.fromarray(values), (0, 1))).tolist() == [[0, 0, 0, 0, 128, 255, 255, 255]]
    wide = np.array([[-(2**31), -1, 0, 2**31 - 1]], np.int32)
    assert np.asarray(to_grey_or_rgb(Image.fromarray(wide), (0, 4095))).tolist() == [[0, 0, 0, 255]]


WHOLE = st.integers(-(2**31), 2**31 - 1)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(black=st.integers(-(2**31), 2**31 - 2), steps=st.integers(1, 2**32), values=st.lists(WHOLE, min_size=1))
def test_whole_levels_are_256_steps_of_the_same_width(black: int, steps: int, values: list[int]) -> None:
    white = min(black + steps, 2**31 - 1)
    image = Image.fromarray(np.array([values], np.int32))
    found = np.asarray(to_grey_or_rgb(image, (black, white)))[0].tolist()
    assert found == [min(255, max(0, (v - black) * 256 // (white - black + 1))) for v in values]


def test_all_16_bits_are_todays_shift() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for levels in (None, (0, 65535), (0.0, 65535.0)):
        assert np.array_equal(np.asarray(to_grey_or_rgb(Image.fromarray(every), levels)), every >> 8)


@cache
def script_names() -> dict[str, Any]:
    """What the script for ONNX files defines, without this project."""
    code = get_runtime("onnx").device_code()
    assert code is not None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")
        path.write_text(device_script("onnx", code, get_task(), code.needs))
        return runpy.run_path(str(path))


@settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    kind=st.sampled_from(KINDS), width=st.integers(5, 90), height=st.integers(5, 90), side=st.integers(1, 40),
    channels=st.sampled_from([1, 3]), crop_pct=st.sampled_from([0.875, 0.9, 1.0]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]), deep=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_training_scripts_and_timm_make_the_same_tensor_of_a_file(
    tmp_path: Path, kind: Kind, width: int, height: int, side: int, channels: int, crop_pct: float,
    interpolation: str, deep: bool, seed: int,
) -> None:  # fmt: skip
    levels = (0.0, 1.0) if kind.mode == "F" else (0, 4095) if deep else None
    path = tmp_path / f"image.{kind.ending}"
    write(kind, path, (width, height), np.random.default_rng(seed), levels[1] if levels else 65535)
    mean, std = MEAN[:channels], STD[:channels]
    info = DataInfo(
        "folder", ("a", "b"), channels, mean, std, 32, {"train": 1, "search": 1, "test": 1}, crop_pct, interpolation,
        levels=levels,
    )  # fmt: skip
    dataset = Dataset(info, FileImages((path.name,), tmp_path, levels=levels), np.zeros(1, np.int64), {})
    trained = normalise(eval_transform(info, side)(dataset.image(0))[None], info)[0].numpy()

    given = to_json(Input((channels, side, side), mean, std, interpolation, crop_pct, levels))
    assert np.array_equal(prepare(path, given), trained)
    assert np.array_equal(script_names()["prepare"](path, given), trained)

    given.pop("levels", None)
    transform = timm.data.create_transform(**given, is_training=False)
    wanted = Image.fromarray(expected(path, levels)).convert("L" if channels == 1 else "RGB")
    assert torch.equal(transform(wanted), torch.from_numpy(trained))
    assert torch.equal(transform(with_channels(decode(path, levels), channels)), torch.from_numpy(trained))


def test_the_file_of_an_image_in_memory_is_its_own(photo_folder: Any) -> None:
    from nas.data.opening import open_dataset

    dataset = open_dataset(str(photo_folder({"a": 4, "b": 4})), 0)
    for number in range(8):
        name, content = read_file(dataset.images, number)
        assert content == Path(dataset.info.source, name).read_bytes()
    embedded = open_dataset()
    name, content = read_file(embedded.images, 3)
    (Path(dataset.info.source) / name).write_bytes(content)
    assert np.array_equal(np.asarray(decode(Path(dataset.info.source) / name)), np.asarray(embedded.image(3)))
