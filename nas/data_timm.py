"""Data sets by timm's own names: ``torch/cifar10``, ``hfds/...``, ``wds/...``, ``tfds/...``."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from nas.data_decode import ArrayImages, Pixels, to_grey_or_rgb
from nas.data_folder import Source
from nas.data_set import MEMORY_BYTES, Images, Ints
from search_spaces.errors import UserError
from search_spaces.timm_compat import timm

PACKAGES = {"torch": ("torchvision", "torchvision"), "hfds": ("datasets", "datasets"),
            "tfds": ("tensorflow_datasets", "tensorflow-datasets"), "wds": ("webdataset", "webdataset")}  # fmt: skip
"""Prefix of timm's names: module it needs, and the package to install."""


@dataclass(frozen=True)
class TimmImages:
    """Random-access timm or torchvision data sets, end to end."""

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


def is_timm_name(source: str) -> bool:
    """Whether ``source`` starts with one of the prefixes that timm reads."""
    prefix, slash, _ = source.partition("/")
    return bool(slash) and prefix.lower() in PACKAGES


def open_timm(source: str, root: str | None) -> Source:
    """Open a data set through ``timm.data.create_dataset``; nothing is downloaded for ``torch/`` and ``tfds/``.

    Splits: ``train``; ``validation`` becomes the search split and ``test`` the test split where the source has them.
    torchvision's held-out part, which timm calls *validation*, is the test split. ``wds`` and ``tfds`` only stream, so
    they are read into memory once (as RGB) and must fit there.

    Raises:
        UserError: a package, the root or the files are missing, or the data set is not one label an image.
    """
    prefix = source.partition("/")[0].lower()
    module, package = PACKAGES[prefix]
    if importlib.util.find_spec(module) is None:
        raise UserError(f"'{source}' needs the package {package}, which is not installed: pip install {package}")
    if root is None and prefix != "hfds":
        raise UserError(f"'{source}' needs root, the folder that holds its files")
    wanted = {"train": "train", "test": "validation"} if prefix == "torch" else {
        "train": "train", "search": "validation", "test": "test"}  # fmt: skip
    parts = {}
    for split, name in wanted.items():
        part = _open(source, root, name, required=split == "train" or prefix == "torch")
        if part is not None:
            parts[split] = part
    classes = _classes(parts["train"])
    images: Images
    if prefix in ("tfds", "wds"):
        arrays, labels = _read_all(source, parts)
        images = ArrayImages([a for held in arrays.values() for a in held])
    else:
        labels = {split: _labels(source, part) for split, part in parts.items()}
        images = TimmImages(tuple(parts.values()))
    ends = np.cumsum([len(own) for own in labels.values()])
    given = {s: np.arange(end - len(labels[s]), end) for s, end in zip(labels, ends, strict=True)}
    joined = np.concatenate(list(labels.values()))
    if joined.min() < 0 or len(np.unique(joined)) < 2:
        raise UserError(f"'{source}' has labels {joined.min()}..{joined.max()}; a classifier needs two classes or more")
    if len(classes) <= joined.max():
        classes = tuple(str(i) for i in range(int(joined.max()) + 1))
    return Source(images, joined, classes, given)


def _open(source: str, root: str | None, split: str, required: bool) -> Any:
    """One split as timm opens it; None where an optional one is missing. What timm prints goes to stderr."""
    prefix, _, rest = source.partition("/")
    # a streamed image needs a mode; elsewhere an empty one keeps grey images grey
    mode = "RGB" if prefix.lower() in ("tfds", "wds") else ""
    with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return timm.data.create_dataset(
                f"{prefix.lower()}/{rest}", root=root, split=split, download=False, input_img_mode=mode
            )
        except (Exception, SystemExit) as error:  # torchvision, datasets, tensorflow: each raises its own kinds
            if not required:
                return None
            text = " ".join((str(error) or said.getvalue() or type(error).__name__).split())
            raise UserError(f"cannot open '{source}' ({split}) in '{root}': {text[:200]}") from error


def _classes(part: Any) -> tuple[str, ...]:
    names: Sequence[Any] = getattr(part, "classes", ())
    mapping = getattr(getattr(part, "reader", None), "class_to_idx", None)
    if not names and mapping:
        names = sorted(mapping, key=mapping.__getitem__)
    return tuple(str(n[0] if isinstance(n, tuple) else n) for n in names)


def _labels(source: str, part: Any) -> Ints:
    """Labels without decoding images where the data set offers them."""
    reader = getattr(part, "reader", None)
    if reader is not None and hasattr(reader, "iter_targets"):
        found: Any = list(reader.iter_targets())
    else:
        found = next((getattr(part, a) for a in ("targets", "labels", "_labels") if hasattr(part, a)), None)
    if found is None:
        found = [part[i][1] for i in range(len(part))]
    labels = np.asarray(found)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"'{source}' has labels of shape {labels.shape}; the rule is one class number an image")
    return labels.astype(np.int64)


def _read_all(source: str, parts: dict[str, Any]) -> tuple[dict[str, list[Pixels]], dict[str, Ints]]:
    held: dict[str, list[Pixels]] = {}
    labels: dict[str, Ints] = {}
    total = 0
    for split, part in parts.items():
        held[split], own = [], []
        for image, label in part:
            pixels = np.asarray(to_grey_or_rgb(image))
            total += pixels.nbytes
            if total > MEMORY_BYTES:
                raise UserError(
                    f"'{source}' only streams and takes more than {MEMORY_BYTES >> 20} MB decoded; "
                    f"write it out as a folder with one sub-folder of images a class"
                )
            held[split].append(pixels)
            own.append(int(label))
        labels[split] = np.array(own, dtype=np.int64)
    return held, labels
