"""One look at every image of a set: what it shows once decoded, and a hash of it.

Pixels are held within :data:`nas.data.dataset.MEMORY_BYTES`; else a few numbers an image remain.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from nas.data.dataset import MEMORY_BYTES
from nas.data.decode import FULL_CHECK_IMAGES, Encoded, Pixels, quiet_pil, reason, threads
from nas.data.folders.formats import HEAD_BYTES
from nas.data.preparation import to_grey_or_rgb, turn_of
from nas.store.records import Levels

from .facts import FEW_VALUES, MANY_VALUES, Facts, Seen, deep_images, is_deep, no_facts, tabulate, values_and_sums
from .levels import find_levels

_FIRST, _LARGE = 2, 128 * 128
"""So many images say whether all are large, in pixels: small ones spend their time inside Python's lock, where threads
only get in each other's way."""
_SMALL = 64 * 64
"""Pixels up to which an image's are summed up together with those of others; more are counted value by value."""
_STRIP = 2**20
"""Pixels of a larger image that are looked at at once, where they need not be held."""
NO_VALUE = 1e20
"""From here on, floats mark places without a value, as not-a-number does: they have no part in the range of a set."""
CHUNK = 64
"""Images that are looked at before their facts go into the table."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What a set of images showed.

    Attributes:
        facts: of every image, by number; zeros for unreadable ones.
        bad: why images are unreadable, by number.
        held: pixels of the readable ones, where they fit in memory.
        levels: of the set's deep images; None: there are none, or as they were in earlier versions.
    """

    facts: Facts
    bad: dict[int, str]
    held: list[Pixels] | None
    levels: Levels | None = None


@dataclass
class Held:
    """Decoded images by number, dropped once they exceed ``limit`` bytes."""

    limit: int
    images: dict[int, Image.Image | Pixels] = field(default_factory=dict)
    size: int = 0
    full: bool = False

    def hold(self, number: int, image: Image.Image | Pixels, size: int) -> None:
        self.size += size  # roughly right is enough: threads may overshoot by an image
        if self.size > self.limit:
            self.full = True
            self.images.clear()
        if not self.full:
            self.images[number] = image


def look_at_all(
    images: Encoded, thorough: bool = False, given: Callable[[Facts], Levels | None] = find_levels
) -> Looked:
    """Decode every image once; of more than :data:`nas.data.decode.FULL_CHECK_IMAGES` read only the headers, but for
    deep images.

    Args:
        thorough: decode all, however many, and hold no pixels: for a look alone.
        given: the levels of deep images, from the facts of all images.
    """
    headers_only = len(images) > FULL_CHECK_IMAGES and not thorough
    facts, bad, held = no_facts(len(images)), dict[int, str](), Held(MEMORY_BYTES, full=thorough)

    def look(numbers: range) -> None:
        seen: dict[int, Seen] = {}
        for number in numbers:
            data = b""
            try:
                if headers_only and (header := _header(images.file(number))) is not None:
                    seen[number] = header
                    continue
                data = images.content(number)
                with Image.open(io.BytesIO(data)) as image:
                    seen[number], shown, size = see(image, data, hold=not held.full)
            except Exception as error:  # PIL's plugins raise nearly anything on damaged files
                bad[number] = reason(error, data[:HEAD_BYTES])
                continue
            held.hold(number, shown, size)
        facts[[*seen]] = tabulate([*seen.values()])

    with quiet_pil(), ThreadPoolExecutor(threads()) as pool:
        look(range(min(_FIRST, len(images))))
        large = (facts.width[:_FIRST] * facts.height[:_FIRST]).max() >= _LARGE
        size = 1 if large else CHUNK
        parts = [range(i, min(i + size, len(images))) for i in range(_FIRST, len(images), size)]
        list((pool.map if large else map)(look, parts))
    levels = given(facts)
    numbers = [number for number in range(len(images)) if number not in bad]
    kept = None if held.full or len(held.images) < len(numbers) else [held.images[number] for number in numbers]
    return Looked(facts, dict(sorted(bad.items())), settle(facts, numbers, kept, levels), levels)


def _header(file: Any) -> Seen | None:
    """What an image's header alone says; None for a deep image, whose values must be seen."""
    with Image.open(file) as image:
        if is_deep(image.mode):
            return None
        mode, (width, height) = image.mode, image.size
    channels = 1 if mode in ("1", "L", "LA", "La") else 3
    return Seen(mode, width, height, channels, _hash(f"{mode} {width} {height}".encode()), decoded=False)


def see(image: Image.Image, data: bytes = b"", hold: bool = True) -> tuple[Seen, Image.Image | Pixels, int]:
    """Look at an image.

    Args:
        data: of its file.
        hold: whether its pixels are wanted; else there may be none.

    Returns:
        What it shows; its pixels, or the image itself where they depend on the set's levels; their bytes.
    """
    image.load()
    mode = image.mode
    if is_deep(mode):
        upright = _upright_values(image)
        real = upright[np.abs(upright) < NO_VALUE] if mode == "F" else upright
        low, high = (float(real.min()), float(real.max())) if real.size else (0.0, 0.0)
        height, width = upright.shape
        pixels = _hash(f"{width} {height} {upright.dtype}".encode(), upright)
        seen = Seen(mode, width, height, 1, _hash(data) if data else pixels, low, high, pixels=pixels)
        seen.values = _steps(real, low, high)
        return seen, Image.fromarray(upright), upright.nbytes
    hidden = image.has_transparency_data and _alpha_varies(image)
    decoded = to_grey_or_rgb(image)
    width, height = decoded.size
    channels, small = 1 if decoded.mode == "L" else 3, width * height <= _SMALL
    raw = decoded.tobytes() if hold or small else b""
    pixels = _hash_of_pixels(width, height, channels, [raw] if raw else _strips(decoded))
    seen = Seen(mode, width, height, channels, _hash(data) if data else pixels, hidden=hidden, pixels=pixels)
    if small:
        seen.values, seen.shown = _values(decoded), raw
    else:
        seen.values, seen.span, seen.sums = values_and_sums(decoded.histogram())
    shape = (height, width) if channels == 1 else (height, width, channels)
    return seen, np.frombuffer(raw, np.uint8).reshape(shape if raw else 0), len(raw)


def _strips(image: Image.Image) -> Iterator[bytes]:
    """The pixels of an image, a part at a time."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


def _values(image: Image.Image) -> int:
    """How many values a small image has, as of :data:`nas.data.checks.facts.FACTS`."""
    if image.mode == "L":
        return MANY_VALUES - image.histogram().count(0)
    found = image.getcolors(FEW_VALUES**3)  # not more, if no channel has more than a few values
    if found is None:
        return MANY_VALUES
    colours = cast(list[tuple[int, tuple[int, int, int]]], found)
    return max(len(set(values)) for values in zip(*(colour for _, colour in colours), strict=True))


def _hash_of_pixels(width: int, height: int, channels: int, parts: Iterable[bytes]) -> int:
    """Of an image; of a grey picture in colour, that of the grey one."""
    own = xxhash.xxh3_64(f"{width} {height}".encode())
    grey = own.copy() if channels == 3 else None
    for part in parts:
        own.update(part)
        if grey is not None:
            plane = part[::3]
            if plane == part[1::3] == part[2::3]:
                grey.update(plane)
            else:
                grey = None
    return (own if grey is None else grey).intdigest()


def _alpha_varies(image: Image.Image) -> bool:
    """Whether an alpha channel, which is dropped, is not the same everywhere."""
    bands = image.getbands()
    alpha = image.getchannel(bands[-1]) if bands[-1] in "Aa" else image.convert("RGBA").getchannel("A")
    low, high = alpha.getextrema()
    return low != high


def _upright_values(image: Image.Image) -> NDArray[Any]:
    """Values of a deep image: of whatever kind its file holds, equal ones for equal pictures."""
    values = np.asarray(image)
    if image.mode == "F":
        values = values.astype(np.float32)
    else:
        fits = values.min() >= 0 and values.max() <= 65535
        values = values.astype(np.uint16 if fits else np.int32)
    turn = turn_of(image)
    return values if turn is None else np.ascontiguousarray(Image.fromarray(values).transpose(turn))


def _steps(values: NDArray[Any], low: float, high: float) -> int:
    """How many of 256 equal steps between the least and the largest of some values hold any."""
    if low == high:
        return 1
    steps = ((values.ravel() - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)
    return int(np.count_nonzero(np.bincount(steps)))


def _hash(*parts: Any) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def settle(
    facts: Facts, numbers: Iterable[int], held: list[Image.Image | Pixels] | None, levels: Levels | None
) -> list[Pixels] | None:
    """The pixels of what is held, now that the levels of deep images are known; their facts are completed in place."""
    _complete(facts, levels)
    if held is None:
        return None
    out = []
    for number, image in zip(numbers, held, strict=True):
        if isinstance(image, Image.Image):
            image = to_grey_or_rgb(image, levels)
            facts.values[number], facts.span[number], sums = values_and_sums(image.histogram())
            facts.sums[number], facts.squares[number] = sums
            image = np.asarray(image)
        out.append(image)
    return out


def _complete(facts: Facts, levels: Levels | None) -> None:
    """About how many grey levels the deep images have: no more than lie between their least and largest value."""
    deep, floats = deep_images(facts), facts.mode == b"F"
    for which, kind in ((deep & floats, np.float32), (deep & ~floats, np.int32)):
        if which.any():
            ends = np.stack([facts.low[which], facts.high[which]], axis=1).astype(kind)
            low, high = np.asarray(to_grey_or_rgb(Image.fromarray(ends), levels)).astype(np.int32).T
            facts.span[which] = high - low
            facts.values[which] = np.minimum(high - low + 1, facts.values[which])
