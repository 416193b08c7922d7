"""What images show once decoded: it is said, and refused where nothing can be learned."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nas.data.checks.facts import FACTS, FEW_VALUES, no_facts, tabulate
from nas.data.checks.levels import find_levels
from nas.data.checks.look import see
from nas.data.opening import open_dataset
from nas.data.preparation import decode
from tests.support.cli_runs import invoke
from tests.support.picture_files import pixels_of, write_layout

Draw = Callable[[int], Image.Image]


def disc(seed: int, side: int = 24) -> NDArray[np.bool_]:
    """A disc in another place for each seed."""
    cy, cx = np.random.default_rng(seed).uniform(side / 3, 2 * side / 3, 2)
    y, x = np.mgrid[:side, :side]
    inside: NDArray[np.bool_] = (y - cy) ** 2 + (x - cx) ** 2 < (side / 4) ** 2
    return inside


def write(root: Path, draw: Draw, ending: str, count: int = 6) -> Path:
    for label, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            draw(count * label + i).save(root / name / f"{i}.{ending}")
    return root


def noisy(seed: int, low: float, high: float) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(low, high, (24, 24))


def alpha_glyph(seed: int) -> Image.Image:
    image = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    image.putalpha(Image.fromarray(disc(seed).astype(np.uint8) * 255))
    return image


def palette_glyph(seed: int) -> Image.Image:
    """Black on transparent black, in a palette."""
    image = Image.fromarray(disc(seed).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.info["transparency"] = 0
    return image


NOTHING: dict[str, tuple[Draw, str]] = {
    "alpha": (alpha_glyph, "png"),
    "grey and alpha": (lambda seed: alpha_glyph(seed).convert("LA"), "png"),
    "palette": (palette_glyph, "gif"),
    "flat colours": (lambda seed: Image.new("RGB", (24, 24), (seed, 2 * seed, 40)), "png"),
    "one value of 16 bits": (lambda seed: Image.fromarray(np.full((24, 24), 900 + seed, np.uint16)), "png"),
    "no numbers": (lambda _: Image.fromarray(np.full((24, 24), np.nan, np.float32)), "tif"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_images_that_show_nothing_are_refused(empty: Path, kind: str) -> None:
    write(empty / "x", *NOTHING[kind])
    result = invoke("data", "check", "x")
    assert result.code == 1
    assert "every image of 'x' is of one colour once decoded" in result.message
    assert ("flatten the images onto a background" in result.message) == (
        kind in ("alpha", "grey and alpha", "palette")
    )
    training = invoke("train-supernet", "--data", "x", "--out", "run", "--dry-run")
    assert (training.code, "is of one colour once decoded" in training.message) == (1, True)


def test_one_picture_under_many_names_is_refused(empty: Path) -> None:
    write(empty / "x", lambda _: Image.fromarray(pixels_of(0)), "png")
    assert "all 12 images of 'x' are the same picture" in invoke("data", "check", "x").message


DEEP: dict[str, tuple[Draw, str, tuple[float, float] | None]] = {
    "floats to 1": (lambda s: Image.fromarray((disc(s) * noisy(s, 0.2, 1)).astype(np.float32)), "tif", (0, 1)),
    "floats from -1": (lambda s: Image.fromarray((disc(s) - noisy(s, 0, 1)).astype(np.float32)), "tif", (-1, 1)),
    "floats to 255": (lambda s: Image.fromarray((disc(s) * noisy(s, 99, 255)).astype(np.float32)), "tif", (0, 255)),
    "12 bits": (lambda s: Image.fromarray((disc(s) * noisy(s, 999, 4095)).astype(np.uint16)), "png", (0, 4095)),
    "8 bits in 16": (lambda s: Image.fromarray((disc(s) * noisy(s, 99, 255)).astype(np.uint16)), "png", (0, 255)),
    "16 bits": (lambda s: Image.fromarray((disc(s) * noisy(s, 9999, 65535)).astype(np.uint16)), "png", None),
    "32 bits": (lambda s: Image.fromarray((disc(s) * noisy(s, 1e5, 1e6)).astype(np.int32)), "tif", (0, 0)),
    "below 0": (lambda s: Image.fromarray((disc(s) * noisy(s, 5, 900) - 1000).astype(np.int32)), "tif", (0, 0)),
    "tiny floats": (lambda s: Image.fromarray((disc(s) * noisy(s, 0.001, 0.01)).astype(np.float32)), "tif", (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
def test_deep_images_are_mapped_by_the_range_of_the_set(
    empty: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they show what they hold; held in memory or not, and opened again."""
    draw, ending, levels = DEEP[kind]
    write(empty / "x", draw, ending)
    found = open_dataset("x")
    if levels != (0, 0):
        assert found.info.levels == levels
    shades = [np.asarray(found.image(n)) for n in range(12)]
    assert min(len(np.unique(each)) for each in shades) > 40
    assert max(int(each.max()) for each in shades) > 200
    raw = [np.asarray(draw(n), dtype=np.float64) for n in range(12)]
    for deep, shade in zip(raw, shades, strict=True):  # one scale for all images: order is kept within and between them
        order = np.argsort(deep.ravel(), kind="stable")
        assert (np.diff(shade.ravel()[order].astype(int)) >= 0).all()
    assert any("have more than 8 bits, of which" in warning for warning in found.warnings)
    monkeypatch.setattr("nas.data.checks.look.MEMORY_BYTES", 100)
    unheld = open_dataset("x", trained=found.info)
    assert unheld.info == found.info
    assert all(np.array_equal(np.asarray(unheld.image(n)), shades[n]) for n in range(12))


@given(
    ends=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)), mode=st.sampled_from(("I;16", "I", "F"))
)
@settings(max_examples=200, deadline=None)
def test_levels_hold_all_values_and_waste_little(ends: tuple[int, int], mode: str) -> None:
    low, high = sorted(abs(end) % 65536 if mode == "I;16" else end for end in ends)
    facts = no_facts(2)
    facts.mode, facts.low, facts.high = mode.encode(), low, high
    black, white = find_levels(facts) or (0.0, 65535.0)
    assert black <= low <= high <= white
    assert black < white
    assert high == low or (high - low) * 8 >= white - black


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_deep_images_are_the_same_picture(tmp_path: Path, orientation: int) -> None:
    values = np.arange(6 * 4, dtype=np.uint16).reshape(4, 6) * 2000
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"x.{ending}", exif=exif)
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "y.tif", exif=exif)
    keys, shown = set(), set()
    for name in ("x.png", "x.tif", "y.tif"):
        with (tmp_path / name).open("rb") as file, Image.open(file) as image:
            keys.add(see(image)[0].pixels)
        shown.add(decode(tmp_path / name).tobytes())
    assert len(keys) == len(shown) == 1


def test_some_odd_images_are_named_with_their_share(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "x", {"a": 20, "b": 20})
    Image.new("RGB", (12, 12), (9, 9, 9)).save(folder / "a" / "flat.png")
    alpha_glyph(1).save(folder / "b" / "glyph.png")
    mask = Image.new("RGB", (12, 12))
    ImageDraw.Draw(mask).ellipse((2, 2, 9, 9), (1, 1, 1))
    mask.save(folder / "b" / "mask.png")
    Image.fromarray(pixels_of(77, channels=1)).save(folder / "a" / "grey.png")
    said = open_dataset(str(folder)).warnings
    assert said == (
        "1 of 44 images are of one colour, such as a/flat.png",
        "1 of 44 images are of one colour and have their shape in the alpha channel, which is dropped: flatten them "
        "onto a background, such as b/glyph.png",
        "1 of 44 images have at most 4 grey levels, such as b/mask.png",
        "1 of 44 images are grey among colour images, which all become colour, such as a/grey.png",
    )


def test_statements_are_about_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One colour image among many grey ones, which no sample sees; sizes and normalisation too."""
    monkeypatch.setattr("nas.data.statistics.SAMPLE_IMAGES", 2)
    for name in ("a", "b"):
        (tmp_path / "x" / "train" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(pixels_of(i + 100 * (name == "b"), 12 + i, 1)).save(
                tmp_path / "x" / "train" / name / f"{i}.png"
            )
    assert open_dataset(str(tmp_path / "x")).info.in_chans == 1
    Image.fromarray(pixels_of(5)).save(tmp_path / "x" / "train" / "b" / "colour.png")
    found = open_dataset(str(tmp_path / "x"))
    assert found.info.in_chans == len(found.info.mean) == 3
    assert found.looked_at == found.info.counts["train"]
    own = [np.asarray(found.image(int(n)), dtype=np.float64).reshape(-1, 3) / 255 for n in found.train]
    assert found.info.mean == pytest.approx(np.concatenate(own).mean(0), abs=1e-6)
    assert found.info.std == pytest.approx(np.concatenate(own).std(0), abs=1e-6)


def test_a_run_keeps_its_levels_when_images_are_added_elsewhere(tmp_path: Path) -> None:
    draw, ending, _ = DEEP["12 bits"]
    folder = write(tmp_path / "x", draw, ending)
    trained = open_dataset(str(folder)).info
    Image.fromarray(np.full((24, 24), 60000, np.uint16)).save(folder / "a" / "new.png")
    assert open_dataset(str(folder)).info.levels is None
    assert open_dataset(str(folder), trained=trained).info.levels == (0, 4095)


def test_only_the_headers_of_a_large_set_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the values of deep images, whose range must be known."""
    monkeypatch.setattr("nas.data.checks.look.FULL_CHECK_IMAGES", 5)
    draw, ending, levels = DEEP["12 bits"]
    folder = write(tmp_path / "x", draw, ending)
    assert open_dataset(str(folder)).info.levels == levels
    colours = write_layout(tmp_path / "y", {"a": 6, "b": 6})
    found = open_dataset(str(colours))
    assert any("only the headers of 12 images were checked" in warning for warning in found.warnings)
    assert found.info.in_chans == 3
    assert open_dataset(str(colours), trained=found.info).info == found.info
    assert open_dataset(str(colours), thorough=True).info.mean == pytest.approx(found.info.mean, abs=1e-6)


def test_memory_holds_few_numbers_an_image() -> None:
    assert FACTS.itemsize <= 104


@given(
    sides=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=5),
    levels=st.integers(1, 7), kinds=st.lists(st.sampled_from(("grey", "colour", "grey in colour")), min_size=5),
    small=st.sampled_from((0, 100, 400)), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_facts_are_those_of_the_pixels(
    sides: list[tuple[int, int]], levels: int, kinds: list[str], small: int, seed: int
) -> None:
    """Of small images, which are summed up together, of larger ones, and of those looked at in strips."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(0, 256, (levels, 3)).astype(np.uint8)
    pictures = []
    for size, kind in zip(sides, kinds, strict=False):
        picture = shades[rng.integers(levels, size=size)]
        pictures.append(picture if kind == "colour" else picture[..., 0] if kind == "grey" else picture[..., [0, 0, 0]])
    with patch("nas.data.checks.look._SMALL", small), patch("nas.data.checks.look._STRIP", 50):
        for hold in (True, False):
            found = tabulate([see(Image.fromarray(picture), hold=hold)[0] for picture in pictures])
            for fact, picture in zip(found, pictures, strict=True):
                parts = picture.reshape(picture.shape[0] * picture.shape[1], -1)
                most = max(len(np.unique(part)) for part in parts.T)
                assert fact["values"] == most if most <= FEW_VALUES else fact["values"] > FEW_VALUES
                assert fact["span"] == int(picture.max()) - int(picture.min())
                assert fact["sums"] == pytest.approx(np.broadcast_to((parts / 255).sum(0), 3))
                assert fact["squares"] == pytest.approx(np.broadcast_to(((parts / 255) ** 2).sum(0), 3))
                told = parts[:, 0] if (parts[:, :1] == parts).all() else parts
                name = f"{picture.shape[1]} {picture.shape[0]}".encode()
                assert fact["pixels"] == xxhash.xxh3_64_intdigest(name + told.tobytes())


def png_of_16_bits(path: Path, values: NDArray[np.uint16]) -> None:
    """A colour PNG ``[h, w, 3]``, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colour_images_of_fewer_bits_than_their_files_are_told(tmp_path: Path, bits: int) -> None:
    """Pillow keeps the upper 8 of 16, so that hardly anything is left of them."""
    for label, name in enumerate("ab"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for i in range(6):
            values = np.random.default_rng(10 * label + i).integers(0, 2**bits, (24, 24, 3)).astype(np.uint16)
            png_of_16_bits(tmp_path / "x" / name / f"{i}.png", values)
    said = open_dataset(str(tmp_path / "x")).warnings
    what = {10: "have at most 4 grey levels", 12: "use at most 32 of the 256 levels from black to white", 16: ""}[bits]
    assert any(line.startswith(f"12 of 12 images {what}") for line in said) == bool(what), said
    assert bool(what) or said == ()


@pytest.mark.parametrize("fill", [-3.4028235e38, 9.96921e36, np.nan, np.inf])
def test_places_without_a_value_do_not_stretch_the_range(tmp_path: Path, fill: float) -> None:
    def draw(seed: int) -> Image.Image:
        values = noisy(seed, 100, 7000).astype(np.float32)
        values[:4] = fill
        return Image.fromarray(values)

    folder = write(tmp_path / "x", draw, "tif")
    for thorough in (False, True):
        found = open_dataset(str(folder), thorough=thorough)
        assert found.info.levels is not None
        assert 6000 < found.info.levels[1] < 7000
        assert len(np.unique(np.asarray(found.image(0)))) > 150
        assert not any("grey levels" in line for line in found.warnings)


@pytest.mark.parametrize("thorough", [False, True])
def test_a_range_that_a_few_values_stretch_is_told(tmp_path: Path, thorough: bool) -> None:
    """Whether or not the pixels are held."""

    def draw(seed: int) -> Image.Image:
        values = noisy(seed, 100, 7000).astype(np.float32)
        values[0, 0] = -1e7
        return Image.fromarray(values)

    said = open_dataset(str(write(tmp_path / "x", draw, "tif")), thorough=thorough).warnings
    assert any(line.startswith("12 of 12 images have at most 4 grey levels") for line in said), said
