"""A folder of images as a source: one sub-folder a class, with or without train/, val/ and test/ above them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data_decode import FULL_CHECK_IMAGES, ArrayImages, FileImages, decode_all
from nas.data_set import Images, Ints, listed
from search_spaces.errors import UserError

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
SPLIT_NAMES = {"train": "train", "training": "train", "val": "search", "valid": "search", "validation": "search",
               "search": "search", "test": "test"}  # fmt: skip
LAYOUT = "a data folder holds one sub-folder of images a class, or train/ (and val/, test/) with such sub-folders"


@dataclass(frozen=True)
class Source:
    """Images as found, before splits are cut.

    Attributes:
        images, labels: all images, and their labels ``[len(images)]``.
        classes: names, by label.
        given: image numbers of the splits that the source itself assigns; ``train`` always.
        warnings: a line each.
    """

    images: Images
    labels: Ints
    classes: tuple[str, ...]
    given: dict[str, Ints]
    warnings: tuple[str, ...] = ()


def open_folder(folder: Path) -> Source:
    """Find, check and label the images of a folder.

    All images are decoded once (headers only beyond 50,000 images); unreadable ones are left out with a warning.

    Raises:
        UserError: the folder is missing or empty, has one class, unknown classes in val/ or test/, or more than half
            of its images are unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is {'not a folder' if folder.exists() else 'missing'}; {LAYOUT}")
    notes: list[str] = []
    roots = _split_folders(folder, notes)
    found = {split: _class_files(root, notes) for split, root in roots.items()}
    if not any(files for files in found["train"].values()):
        loose = sum(_is_image(p) for p in roots["train"].iterdir())
        what = f"{loose} images without class sub-folders" if loose else "no images"
        raise UserError(f"'{roots['train']}' holds {what}; {LAYOUT}")
    classes = tuple(found["train"])
    if len(classes) == 1:
        raise UserError(f"'{folder}' has one class only, '{classes[0]}'; a classifier needs at least two: {LAYOUT}")
    for split, by_class in found.items():
        if unknown := [c for c in by_class if c not in found["train"]]:
            raise UserError(
                f"'{roots[split]}' has class {listed(unknown)}, which '{roots['train']}' has not; every class needs "
                f"training images: rename or remove the folder"
            )
    rows = [
        (path, classes.index(c), s) for s, by_class in found.items() for c, files in by_class.items() for path in files
    ]
    return _check(folder, rows, classes, notes)


def _check(folder: Path, rows: list[tuple[Path, int, str]], classes: tuple[str, ...], notes: list[str]) -> Source:
    """Leave out unreadable files; hold the pixels where they fit in memory."""
    paths = [path for path, _, _ in rows]
    bad, arrays = decode_all(paths)
    if bad:
        names = listed([paths[i].relative_to(folder).as_posix() for i in bad])
        if 2 * len(bad) > len(paths):
            raise UserError(
                f"{len(bad)} of {len(paths)} images in '{folder}' are corrupt ({names}); copy the data again"
            )
        notes.insert(0, f"{len(bad)} corrupt {'image' if len(bad) == 1 else 'images'} left out: {names}")
    if len(paths) > FULL_CHECK_IMAGES:
        notes.append(f"only the headers of {len(paths):,} images were checked, not their pixels")
    left_out = set(bad)
    rows = [row for i, row in enumerate(rows) if i not in left_out]
    files = FileImages(folder, tuple(path for path, _, _ in rows))
    images = files if arrays is None else ArrayImages(arrays, tuple(files.name(i) for i in range(len(files))))
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    of = np.array([split for _, _, split in rows])
    given = {str(split): np.flatnonzero(of == split) for split in np.unique(of)}
    if "train" not in given:
        raise UserError(f"every training image in '{folder}' is corrupt; copy the data again")
    for split in given.keys() - {"train"}:
        if absent := [c for i, c in enumerate(classes) if i not in labels[given[split]]]:
            notes.append(f"the {split} split has no image of class {listed(absent)}")
    return Source(images, labels, classes, given, tuple(notes))


def _split_folders(folder: Path, notes: list[str]) -> dict[str, Path]:
    """Folder of each split given; ``{"train": folder}`` where the class folders are directly inside.

    ``train/`` counts as a split where it has sub-folders: a class may be called *train*.
    """
    children = _folders(folder)
    named = [child for child in children if child.name.lower() in SPLIT_NAMES and _folders(child)]
    out: dict[str, Path] = {}
    for child in named:
        split = SPLIT_NAMES[child.name.lower()]
        if split in out:
            raise UserError(f"'{folder}' has both {out[split].name}/ and {child.name}/ for the {split} split; keep one")
        out[split] = child
    if out and "train" not in out:
        if len(named) == len(children):
            raise UserError(f"'{folder}' has {listed([f'{c.name}/' for c in named])} but no train/; {LAYOUT}")
        return {"train": folder}
    if out and (other := [child.name for child in children if child not in named]):
        notes.append(f"folders beside {out['train'].name}/ ignored: {listed(other)}")
    return out or {"train": folder}


def _class_files(root: Path, notes: list[str]) -> dict[str, list[Path]]:
    """Image files of each class folder, by sorted class name and sorted path, at any depth."""
    out: dict[str, list[Path]] = {}
    ignored: list[str] = []
    for child in _folders(root):
        files = sorted(p for p in _walk(child) if not p.name.startswith("."))
        out[child.name] = [p for p in files if _is_image(p)]
        ignored += [p.relative_to(root).as_posix() for p in files if not _is_image(p)]
    if ignored:
        notes.append(f"{len(ignored)} {'file is not an image' if len(ignored) == 1 else 'files are not images'}, "
                     f"ignored: {listed(ignored)}")  # fmt: skip
    return out


def _walk(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read '{error.filename}' ({error.strerror}); make the folder readable")

    return [Path(at, name) for at, _, names in os.walk(folder, onerror=refuse) for name in names]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise UserError(f"cannot read '{folder}' ({error.strerror}); make the folder readable") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
