"""Open a data set by name: find its images, draw the splits it lacks, and describe it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from nas.data.sources.source import EMBEDDED, open_source
from nas.store.files import absolute_path
from nas.store.records import SPLITS, DataInfo
from search_spaces.errors import UserError

from .dataset import SMALL_SIDE, Dataset, Images, Ints
from .decode import statistics
from .splits import imbalance, make_splits


def open_dataset(source: str = EMBEDDED, seed: int = 0, root: str | None = None, thorough: bool = False) -> Dataset:
    """Open a data set. Splits that it lacks are cut from ``train``, stratified.

    Args:
        source: ``embedded`` (a subset of Fashion-MNIST), a folder with one sub-folder of images per class (with or
            without ``train/``, ``val/``, ``test/`` above them), a ``.tar`` file of such a folder, or one of timm's
            names (``torch/cifar10``, ``hfds/...``, ``tfds/...``, ``wds/...``).
        seed: decides the cut and the order; the splits are a pure function of (files, seed). Not negative.
        root, thorough: as of :meth:`nas.data.sources.source.Source.open`.

    Raises:
        UserError: there is no such data set, or it cannot be used to train a classifier.
    """
    contents = open_source(source, root, thorough)
    try:
        splits = make_splits(contents.labels, contents.given, seed, contents.classes, f"'{source}'")
    except UserError as error:
        if not contents.corrupt:
            raise
        raise UserError(f"{error}\n{contents.warnings[0]}") from None
    train = splits["train"]
    seen = statistics(contents.images, train)
    info = DataInfo(
        source=source, classes=contents.classes, in_chans=seen.channels, mean=seen.mean, std=seen.std,
        native_size=seen.side, counts={name: len(splits[name]) for name in SPLITS},
        crop_pct=1.0 if seen.side <= SMALL_SIDE else 0.875,
        fingerprint=_fingerprint(contents.images, contents.labels, splits), task=contents.task,
    )  # fmt: skip
    warnings = contents.warnings + imbalance(contents.labels[train], contents.classes)
    drawn = tuple(name for name in SPLITS if name not in contents.given)
    return Dataset(
        info, contents.images, contents.labels, splits, warnings, drawn, contents.corrupt, seen.sizes, seen.images
    )


def absolute(source: str) -> str:
    """A folder's or file's absolute path, so that a run can be searched from elsewhere; names stay."""
    prefix, slash, rest = source.partition("/")
    if slash and prefix.lower() == "wds" and not Path(source).exists():
        return f"{prefix}/{Path(rest).resolve()}" if Path(rest).exists() else source
    return source if source == EMBEDDED else absolute_path(source)


def _fingerprint(images: Images, labels: Ints, splits: dict[str, Ints]) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for number in np.sort(splits[split]):
            digest.update(f"{split}\t{labels[number]}\t{images.name(int(number))}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
