"""What is odd about decoded images: told before hours of training, and refused where nothing can be learned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.data.dataset import Ints
from nas.store.records import Levels
from search_spaces.errors import UserError

from .facts import FEW_VALUES, Facts, deep_images
from .levels import UPPER_8_OF_16

NARROW = 32
"""Grey levels, of 256, within which an image hardly shows anything."""


def find_oddities(facts: Facts, name: Callable[[int], str], where: str, levels: Levels | None) -> list[str]:
    """A line for each odd thing about the images of the data set ``where``, with its share and an example.

    Args:
        facts: of all usable images.
        name: of an image, by number.
        levels: of its deep images.

    Raises:
        UserError: every image is of one colour, or all images are the same picture.
    """
    seen = facts.decoded
    if not seen.any():
        return []
    constant, hidden = seen & (facts.values == 1), facts.hidden
    example = name(int(np.flatnonzero(constant)[0])) if constant.any() else ""
    if constant.all():
        raise UserError(
            f"every image of '{where}' is of one colour once decoded, such as '{example}', so there is nothing to "
            f"learn; {_cure(hidden, facts.mode[0].decode())}"
        )
    if seen.all() and len(facts) > 1 and (facts.pixels == facts.pixels[0]).all():
        raise UserError(
            f"all {len(facts):,} images of '{where}' are the same picture, so there is nothing to learn; "
            "copy the data again"
        )

    def said(which: Ints | np.ndarray[tuple[int], np.dtype[np.bool_]], what: str) -> list[str]:
        numbers = np.flatnonzero(which)
        if not len(numbers):
            return []
        return [f"{len(numbers):,} of {len(facts):,} images {what}, such as {name(int(numbers[0]))}"]

    lines = said(constant & ~hidden, "are of one colour")
    lines += said(
        constant & hidden, "are of one colour and have their shape in the alpha channel, which is dropped: flatten "
        "them onto a background"
    )  # fmt: skip
    lines += said(
        seen & (facts.values > 1) & (facts.values <= FEW_VALUES) & (facts.mode != b"1"),
        f"have at most {FEW_VALUES} grey levels",
    )
    lines += said(
        seen & (facts.values > FEW_VALUES) & (facts.span < NARROW),
        f"use at most {NARROW} of the 256 levels from black to white, as colour images do that hold 12 bits in 16",
    )
    deep = deep_images(facts)
    if deep.any():
        black, white = levels or UPPER_8_OF_16
        lines += said(deep, f"have more than 8 bits, of which {black:g} becomes 0 and {white:g} becomes 255")
    grey = facts.channels == 1
    if grey.any() and not grey.all():
        fewer, what = (grey, "grey among colour images") if grey.mean() <= 0.5 else (~grey, "colour among grey images")
        lines += said(fewer, f"are {what}, which all become colour")
    return lines


def _cure(hidden: np.ndarray[tuple[int], np.dtype[np.bool_]], mode: str) -> str:
    if hidden.mean() > 0.5:
        return "the shapes are in the alpha channel, which is dropped: flatten the images onto a background"
    return f"the files have the mode {mode}: convert them to 8-bit grey or RGB images that show something"
