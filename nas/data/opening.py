"""Open a data set by name: find its images, draw the splits it lacks, and describe it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from nas.data.checks.copies import Sorted, sort_out
from nas.data.checks.facts import Facts
from nas.data.sources.source import AUTO, EMBEDDED, Request, open_source
from nas.store.files import absolute_path
from nas.store.records import SPLITS, DataInfo
from search_spaces.errors import UserError

from .dataset import SMALL_SIDE, Dataset, Images, Ints
from .splits import imbalance, make_splits
from .statistics import statistics


def open_dataset(
    source: str = EMBEDDED, seed: int = 0, root: str | None = None, thorough: bool = False, layout: str = AUTO,
    trained: DataInfo | None = None,
) -> Dataset:  # fmt: skip
    """Open a data set. Splits that it lacks are cut from ``train``, stratified.

    Args:
        source: ``embedded`` (a subset of Fashion-MNIST), a folder with one sub-folder of images per class (with or
            without ``train/``, ``val/``, ``test/`` above them), a ``.tar`` file of such a folder, or one of timm's
            names (``torch/cifar10``, ``hfds/...``, ``tfds/...``, ``wds/...``).
        seed: decides the cut and the order; the splits are a pure function of (files, seed). Not negative.
        root, thorough, layout, trained: as of :class:`nas.data.sources.source.Request`.

    Raises:
        UserError: there is no such data set, or it cannot be used to train a classifier.
    """
    request = Request(root, thorough, layout, trained)
    contents = open_source(source, request)
    classes, facts, name = contents.classes, contents.facts, contents.images.name
    sound = Sorted(dict(contents.given), None, ())
    if facts is not None and facts.decoded.all() and not request.earlier:
        sound = sort_out(facts, contents.labels, contents.given, classes, name, source)
    try:
        splits = make_splits(contents.labels, sound.given, seed, classes, f"'{source}'", sound.groups)
    except UserError as error:
        if not (told := [*contents.warnings[: bool(contents.corrupt)], *sound.notes]):
            raise
        raise UserError(f"{error}\n{'; '.join(told)}") from None
    train = splits["train"]
    seen = statistics(contents.images, train, None if request.earlier else facts)
    info = DataInfo(
        source=source, classes=classes, in_chans=seen.channels, mean=seen.mean, std=seen.std,
        native_size=seen.side, counts={name: len(splits[name]) for name in SPLITS},
        crop_pct=1.0 if seen.side <= SMALL_SIDE else 0.875,
        fingerprint=_fingerprint(contents.images, contents.labels, splits), task=contents.task, levels=contents.levels,
        content="" if facts is None or request.earlier else _content(facts, splits),
    )  # fmt: skip
    warnings = contents.warnings + sound.notes + imbalance(contents.labels[train], classes)
    drawn = tuple(name for name in SPLITS if name not in sound.given)
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


def _content(facts: Facts, splits: dict[str, Ints]) -> str:
    """Of the files of all images, split by split."""
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(np.ascontiguousarray(facts.file[np.sort(splits[split])]).astype("<u8").tobytes())
    return digest.hexdigest()[:16]
