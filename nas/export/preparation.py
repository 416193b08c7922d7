"""How images are prepared for an exported network: as timm takes it, and in full."""

from __future__ import annotations

from pathlib import Path

import nas.data.preparation
from nas.store.exports import Input, Preparation
from nas.store.records import DataInfo
from nas.tasks.task import INPUT, OUTPUT, Task

PREPARATION = Path(nas.data.preparation.__file__).name
"""A file of every exported folder, which needs numpy and Pillow alone."""


def preparation_source() -> str:
    """Text of the module that makes a network's input of an image's file."""
    return Path(nas.data.preparation.__file__).read_text(encoding="utf-8")


def input_config(info: DataInfo, resolution: int) -> Input:
    """How evaluation prepares images, at a resolution in pixels."""
    size = (info.in_chans, resolution, resolution)
    return Input(size, tuple(info.mean), tuple(info.std), info.interpolation, info.crop_pct, info.levels)


def preparation_of(given: Input, task: Task) -> Preparation:
    """What :func:`nas.data.preparation.prepare` does for these arguments, and what comes out of the network."""
    channels, height, width = given.input_size
    return Preparation(
        image="the first frame, turned upright as EXIF says; an alpha channel is dropped",
        mode="L" if channels == 1 else "RGB",
        levels=given.levels,
        shorter_side=nas.data.preparation.shorter_side(height, given.crop_pct),
        interpolation=given.interpolation,
        crop=(height, width),
        layout="NCHW",
        scale=255,
        mean=given.mean,
        std=given.std,
        input=INPUT,
        output=OUTPUT,
        meaning=task.meaning,
    )
