"""Which values of deep images (more than 8 bits a value) are black and white: one range for the whole set."""

from __future__ import annotations

from nas.store.records import DataInfo, Levels

from .facts import Facts, deep_images

_WHOLE = (255, 1023, 4095, 16383, 65535)
"""Largest values of images of 8, 10, 12, 14 and 16 bits."""
_FLOATS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0))
_FILLED = 1 / 8
"""Share of a usual range that a set fills at least; one that fills less has its own."""
UPPER_8_OF_16 = (0.0, 65535.0)


def find_levels(facts: Facts) -> Levels | None:
    """Black and white of the deep images among all images, whose :data:`nas.data.checks.facts.FACTS` are given.

    Whole numbers: 0 and the largest value of 8, 10, 12, 14 or 16 bits, whichever holds all. Floats: 0 to 1, -1 to 1,
    0 to 255 or 0 to 65535. A set that fits none, or fills less than an eighth of it, has its least and largest value.

    Returns:
        None where there are no deep images, or for 16 bits, of which the upper 8 are taken.
    """
    deep, floats = deep_images(facts), facts.mode == b"F"
    if not deep.any():
        return None
    low, high = float(facts.low[deep].min()), float(facts.high[deep].max())
    ranges = _FLOATS if floats.any() else [(0.0, float(white)) for white in _WHOLE]
    black, white = next((usual for usual in ranges if usual[0] <= low and high <= usual[1]), (low, high))
    if not floats.any() and low >= 0:
        black = 0.0
    if high - low < _FILLED * (white - black):
        black, white = low, high
    if black == white:
        white += 1
    return None if not floats.any() and (black, white) == UPPER_8_OF_16 else (black, white)


def levels_for(trained: DataInfo | None, facts: Facts) -> Levels | None:
    """Those that a run remembers of its data; for data that nothing was trained on yet, those of the facts."""
    return find_levels(facts) if trained is None else trained.levels
