"""Classes and splits from folders: one folder of images a class, with or without train/, val/ and test/ above them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from search_spaces.errors import UserError

from .dataset import listed

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
SPLIT_NAMES = {"train": "train", "training": "train", "val": "search", "valid": "search", "validation": "search",
               "search": "search", "test": "test"}  # fmt: skip
LAYOUT = "a data folder holds one sub-folder of images a class, or train/ (and val/, test/) with such sub-folders"


@dataclass
class Tree:
    """A folder, on disk or in an archive, without what is hidden. All paths are below the data set's root."""

    path: str = ""
    folders: dict[str, Tree] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Tree:
        """The folder of that name, made where there is none yet."""
        return self.folders.setdefault(name, Tree(f"{self.path}/{name}".lstrip("/")))

    def add(self, file: str) -> None:
        self.files.append(f"{self.path}/{file}".lstrip("/"))

    def walk(self) -> Iterator[str]:
        """All files, at any depth."""
        yield from self.files
        for child in self.folders.values():
            yield from child.walk()


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's images: ``.DS_Store``, ``__MACOSX``."""
    return name.startswith((".", "__MACOSX"))


def tree_of(paths: Iterable[str]) -> Tree:
    """The tree of an archive's files."""
    root = Tree()
    for path in paths:
        parts = PurePosixPath(path).parts
        if not parts or any(hidden(part) for part in parts):
            continue
        at = root
        for folder in parts[:-1]:
            at = at.folder(folder)
        at.add(parts[-1])
    return root


@dataclass(frozen=True)
class Arranged:
    """Images by name, with a label and a split each; names of the classes, by label; warnings, a line each."""

    names: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str]
    classes: tuple[str, ...]
    notes: Sequence[str] = ()


def arrange(tree: Tree, where: str) -> Arranged:
    """Find the images of a tree, which is at ``where``, their classes and splits.

    Raises:
        UserError: it is empty, has one class, unknown classes in val/ or test/, or no training split.
    """
    notes: list[str] = []
    roots = _split_folders(tree, where, notes)
    found = {split: _class_files(root, notes) for split, root in roots.items()}
    at = {split: f"{where}/{root.path}" if root.path else where for split, root in roots.items()}
    train = found["train"]
    if not any(train.values()):
        loose = sum(is_image(p) for p in roots["train"].files)
        what = f"{loose} images without class sub-folders" if loose else "no images"
        raise UserError(f"'{at['train']}' holds {what}; {LAYOUT}")
    classes = tuple(train)
    if len(classes) == 1:
        raise UserError(f"'{where}' has one class only, '{classes[0]}'; a classifier needs at least two: {LAYOUT}")
    if strange := [c for c in classes if not c.isprintable()]:
        raise UserError(f"'{where}' has a class folder named {strange[0]!r}, which cannot be printed; rename it")
    for split, by_class in found.items():
        if unknown := [c for c in by_class if c not in train]:
            raise UserError(
                f"'{at[split]}' has class {listed(unknown)}, which '{at['train']}' has not; every class needs "
                f"training images: rename or remove the folder"
            )
    rows = [
        (path, classes.index(c), split) for split, own in found.items() for c, files in own.items() for path in files
    ]
    names, labels, splits = zip(*rows, strict=True)
    return Arranged(names, labels, splits, classes, notes)


def _split_folders(tree: Tree, where: str, notes: list[str]) -> dict[str, Tree]:
    """Folder of each split given; ``{"train": tree}`` where the class folders are directly inside.

    ``train/`` counts as a split where it has sub-folders: a class may be called *train*.
    """
    named = [name for name in sorted(tree.folders) if name.lower() in SPLIT_NAMES and tree.folders[name].folders]
    out: dict[str, str] = {}
    for name in named:
        split = SPLIT_NAMES[name.lower()]
        if split in out:
            raise UserError(f"'{where}' has both {out[split]}/ and {name}/ for the {split} split; keep one")
        out[split] = name
    if out and "train" not in out:
        if len(named) == len(tree.folders):
            raise UserError(f"'{where}' has {listed([f'{name}/' for name in named])} but no train/; {LAYOUT}")
        return {"train": tree}
    if out and (other := sorted(tree.folders.keys() - set(named))):
        notes.append(f"folders beside {out['train']}/ ignored: {listed(other)}")
    return {split: tree.folders[name] for split, name in out.items()} or {"train": tree}


def _class_files(root: Tree, notes: list[str]) -> dict[str, list[str]]:
    """Image files of each class folder, by sorted class name and sorted path, at any depth."""
    out: dict[str, list[str]] = {}
    ignored: list[str] = []
    for name, child in sorted(root.folders.items()):
        files = sorted(child.walk(), key=lambda path: PurePosixPath(path).parts)
        out[name] = [path for path in files if is_image(path)]
        ignored += [path.removeprefix(f"{root.path}/") for path in files if not is_image(path)]
    if ignored:
        notes.append(f"{len(ignored)} {'file is not an image' if len(ignored) == 1 else 'files are not images'}, "
                     f"ignored: {listed(ignored)}")  # fmt: skip
    return out


def is_image(path: str) -> bool:
    """By its ending."""
    return PurePosixPath(path).suffix.lower() in EXTENSIONS
