"""Data sets by timm's own names: ``torch/cifar10``, ``hfds/...``, ``wds/...``, ``tfds/...``."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from nas.data.dataset import Ints
from nas.data.decode import to_grey_or_rgb
from search_spaces.errors import UserError, install_hint

from .hub import open_hfds
from .shards import open_wds
from .source import Source
from .stream import class_names, create, numbered, read_streams

PACKAGES = {"torch": ("torchvision", "torchvision"), "hfds": ("datasets", ".[datasets]"),
            "tfds": ("tensorflow_datasets", "tensorflow-datasets"), "wds": ("webdataset", ".[webdataset]")}  # fmt: skip
"""Prefix of timm's names: module it needs, and what to install."""


def is_timm_name(source: str) -> bool:
    """Whether ``source`` starts with one of the prefixes that timm reads."""
    prefix, slash, _ = source.partition("/")
    return bool(slash) and prefix.lower() in PACKAGES


def open_timm(source: str, root: str | None, thorough: bool = False) -> Source:
    """Open a data set through ``timm.data.create_dataset``; nothing is downloaded but for ``hfds/``.

    Splits of ``torch/``: ``train``, and torchvision's held-out part as the test split. Of ``tfds/``: ``train``;
    ``validation`` becomes the search split and ``test`` the test split where there are any. ``wds`` and ``tfds`` only
    stream, so they are read into memory once and must fit there. See :mod:`nas.data.sources.hub` and
    :mod:`nas.data.sources.shards`.

    Args:
        source: prefix and name.
        root: where its files are.
        thorough: decode every image at once, where that is not done anyway.

    Raises:
        UserError: a package, the root or the files are missing, or the data set is not one label an image.
    """
    prefix, _, name = source.partition("/")
    prefix = prefix.lower()
    module, what = PACKAGES[prefix]
    if importlib.util.find_spec(module) is None:
        raise UserError(f"'{source}' needs the package {module}, which is not installed; {install_hint(what)}")
    if prefix == "hfds":
        return open_hfds(source, root, thorough)
    if prefix == "wds":
        return open_wds(source, root)
    if root is None:
        raise UserError(f"'{source}' needs --data-root, the folder that holds its files")
    full = f"{prefix}/{name}"
    if prefix == "tfds":
        # a streamed image needs a mode; elsewhere an empty one keeps grey images grey
        parts = {"train": create(full, root, "train", input_img_mode="RGB")}
        for split, own in {"search": "validation", "test": "test"}.items():
            with suppress(UserError):
                parts[split] = create(full, root, own, input_img_mode="RGB")
        return read_streams(source, parts)
    parts = {split: create(full, root, own) for split, own in {"train": "train", "test": "validation"}.items()}
    labels = {split: _labels(source, part) for split, part in parts.items()}
    return numbered(source, TorchImages(tuple(parts.values())), labels, class_names(parts["train"]))


@dataclass(frozen=True)
class TorchImages:
    """torchvision's data sets, end to end."""

    parts: tuple[Any, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def image(self, index: int) -> Image.Image:
        for part in self.parts:
            if index < len(part):
                return to_grey_or_rgb(part[index][0])
            index -= len(part)
        raise IndexError(index)

    def name(self, index: int) -> str:
        return str(index)


def _labels(source: str, part: Any) -> Ints:
    """Labels without decoding images where the data set offers them."""
    found: Any = next((getattr(part, a) for a in ("targets", "labels", "_labels") if hasattr(part, a)), None)
    if found is None:
        found = [part[i][1] for i in range(len(part))]
    labels = np.asarray(found)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"'{source}' has labels of shape {labels.shape}; the rule is one class number an image")
    return labels.astype(np.int64)
