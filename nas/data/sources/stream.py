"""Data sets that timm only streams: read into memory once."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from nas.data.checks.facts import Facts, Seen, as_facts, tabulate
from nas.data.checks.levels import levels_for
from nas.data.checks.look import CHUNK, see, settle
from nas.data.checks.oddities import find_oddities
from nas.data.dataset import MEMORY_BYTES, Images, Ints
from nas.data.decode import ArrayImages, Pixels
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError

from .source import Contents, Request

_LARGEST_LABEL = 10**6


def create(source: str, root: str | None, split: str, **options: Any) -> Any:
    """One split as timm opens it. What timm prints goes to stderr. Raises UserError where it cannot be opened."""
    if root is None:
        raise UserError(f"'{source}' needs `root`, the folder that holds its files")
    with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return timm.data.create_dataset(source, root=root, split=split, download=False, **options)
        except (Exception, SystemExit) as error:  # torchvision, webdataset, tensorflow: each raises its own kinds
            text = " ".join((str(error) or said.getvalue() or type(error).__name__).split())
            raise UserError(f"cannot open '{source}' ({split}) in '{root}': {text[:200]}") from error


def read_streams(source: str, parts: Mapping[str, Iterable[tuple[Image.Image, int]]], request: Request) -> Contents:
    """Read a stream of (image, class number) for each split into memory.

    Raises:
        UserError: they take more than :data:`nas.data.dataset.MEMORY_BYTES` decoded, have fewer than two classes, or
            show nothing that can be learned.
    """
    tables: list[Facts] = []
    seen: list[Seen] = []
    held: list[Image.Image | Pixels] = []
    labels: dict[str, Ints] = {}
    total = 0
    for split, part in parts.items():
        numbers = []
        for image, label in part:
            shown, pixels, size = see(image)
            total += size
            if total > MEMORY_BYTES:
                raise UserError(
                    f"'{source}' only streams and takes more than {MEMORY_BYTES >> 20} MB decoded; "
                    f"write it out as a folder with one sub-folder of images per class"
                )
            seen.append(shown)
            if len(seen) == CHUNK:
                tables.append(tabulate(seen))
                seen.clear()
            held.append(pixels)
            if not 0 <= int(label) <= _LARGEST_LABEL:
                raise UserError(f"'{source}' has the label {label!s:.40}; give a class number from 0 on for each image")
            numbers.append(int(label))
        labels[split] = np.array(numbers, dtype=np.int64)
    table = as_facts(np.concatenate([*tables, tabulate(seen)]))
    levels = levels_for(request.trained, table)
    arrays = settle(table, range(len(held)), held, levels) or []
    contents = number_splits(source, ArrayImages(arrays), labels, class_names(parts["train"]))
    odd = [] if request.earlier else find_oddities(table, str, source, levels)
    return replace(contents, warnings=tuple(odd), facts=table, levels=levels)


def number_splits(source: str, images: Images, labels: Mapping[str, Ints], classes: Sequence[str]) -> Contents:
    """The contents of a source of images with class numbers, split after split; ``classes`` where they are known."""
    joined = np.concatenate(list(labels.values()))
    if not len(labels["train"]):
        raise UserError(f"'{source}' holds no images for training")
    if joined.min() < 0 or len(np.unique(joined)) < 2:
        raise UserError(f"'{source}' has labels {joined.min()}..{joined.max()}; a classifier needs two classes or more")
    if len(classes) <= joined.max():
        classes = [str(i) for i in range(int(joined.max()) + 1)]
    ends = np.cumsum([len(own) for own in labels.values()])
    given = {s: np.arange(end - len(labels[s]), end) for s, end in zip(labels, ends, strict=True)}
    return Contents(images, joined, tuple(classes), given)


def class_names(part: Any) -> tuple[str, ...]:
    """Names of the classes of a data set that timm or torchvision opened; empty where it has none."""
    names: Sequence[Any] = getattr(part, "classes", ())
    mapping = getattr(getattr(part, "reader", None), "class_to_idx", None)
    if not names and mapping:
        names = sorted(mapping, key=mapping.__getitem__)
    return tuple(str(n[0] if isinstance(n, tuple) else n) for n in names)
