"""Data in, batches out: open a data set by name and iterate over its pixels. Public face of the ``data_*`` files."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import numpy as np

from nas.data.sources.folder import open_folder, open_tar
from nas.data.sources.source import Source
from nas.data.sources.timm_names import PACKAGES, is_timm_name, open_timm
from nas.store.files import absolute_path
from search_spaces.errors import UserError

from .batches import calibration_images, eval_batches, eval_tensors, train_batches, train_positions
from .dataset import SMALL_SIDE, SPLITS, DataInfo, Dataset, Images, Ints, check_compatible
from .decode import ArrayImages, statistics
from .splits import imbalance, make_splits
from .transforms import AUGMENTS

__all__ = [
    "AUGMENTS",
    "SMALL_SIDE",
    "SPLITS",
    "DataInfo",
    "Dataset",
    "absolute",
    "calibration_images",
    "check_compatible",
    "eval_batches",
    "eval_tensors",
    "open_dataset",
    "train_batches",
    "train_positions",
]

EMBEDDED = Path(__file__).parent / "embedded" / "fashion_mnist.npz"


def open_dataset(source: str = "embedded", seed: int = 0, root: str | None = None, thorough: bool = False) -> Dataset:
    """Open a data set.

    Args:
        source: ``embedded`` (a subset of Fashion-MNIST), a folder with one sub-folder of images a class (with or
            without ``train/``, ``val/``, ``test/`` above them), a ``.tar`` file of such a folder, or one of timm's
            names (``torch/cifar10``, ``hfds/...``, ``tfds/...``, ``wds/...``). Splits the source lacks are cut from
            ``train``, stratified: 10 % search (at most 5,000 images), 15 % test (at most 10,000).
        seed: decides the cut and the order; the splits are a pure function of (files, seed). Not negative.
        root: where the files of one of timm's names are.
        thorough: decode every image now; else only headers are read beyond 50,000 images.

    Raises:
        UserError: there is no such data set, or it cannot be used to train a classifier.
    """
    if source == "embedded":
        found = _open_embedded()
    elif is_timm_name(source):
        found = open_timm(source, root, thorough)
    elif Path(source).is_file() and Path(source).suffix == ".tar":
        found = open_tar(Path(source), thorough)
    elif source and Path(source).exists():
        found = open_folder(Path(source), thorough)
    else:
        names = ", ".join(f"{prefix}/..." for prefix in PACKAGES)
        near = difflib.get_close_matches(source, ["embedded"], cutoff=0.7)
        hint = (
            f"did you mean '{near[0]}'?" if near else f"give a folder of images, 'embedded' or one of timm's ({names})"
        )
        raise UserError(f"no data folder '{source}'; {hint}")
    try:
        splits = make_splits(found.labels, found.given, seed, found.classes, f"'{source}'")
    except UserError as error:
        if not found.corrupt:
            raise
        raise UserError(f"{error}\n{found.warnings[0]}") from None
    seen = statistics(found.images, splits["train"])
    info = DataInfo(
        source=source,
        classes=found.classes,
        in_chans=seen.channels,
        mean=seen.mean,
        std=seen.std,
        native_size=seen.side,
        counts={name: len(splits[name]) for name in SPLITS},
        crop_pct=1.0 if seen.side <= SMALL_SIDE else 0.875,
        fingerprint=_fingerprint(found.images, found.labels, splits),
    )
    return Dataset(
        info,
        found.images,
        found.labels,
        splits,
        found.warnings + imbalance(found.labels[splits["train"]], found.classes),
        drawn=tuple(name for name in SPLITS if name not in found.given),
        corrupt=found.corrupt,
        sizes=seen.sizes,
        looked_at=seen.images,
    )


def absolute(source: str) -> str:
    """A folder's or file's absolute path, so that a run can be searched from elsewhere; names stay."""
    prefix, slash, rest = source.partition("/")
    if slash and prefix.lower() == "wds" and not Path(source).exists():
        return f"{prefix}/{Path(rest).resolve()}" if Path(rest).exists() else source
    return source if source == "embedded" else absolute_path(source)


def _open_embedded() -> Source:
    with np.load(EMBEDDED) as file:
        arrays = {name: file[name] for name in file.files}
    images = np.concatenate([arrays[f"{split}_images"] for split in SPLITS])
    labels = np.concatenate([arrays[f"{split}_labels"] for split in SPLITS]).astype(np.int64)
    ends = np.cumsum([0, *(len(arrays[f"{split}_labels"]) for split in SPLITS)])
    given = {split: np.arange(ends[i], ends[i + 1]) for i, split in enumerate(SPLITS)}
    return Source(ArrayImages(list(images)), labels, tuple(str(c) for c in arrays["classes"]), given)


def _fingerprint(images: Images, labels: Ints, splits: dict[str, Ints]) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for number in np.sort(splits[split]):
            digest.update(f"{split}\t{labels[number]}\t{images.name(int(number))}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
