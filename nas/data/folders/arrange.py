"""Images of a tree by name, each with a class and a split; and what lies there that is none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas.data.dataset import listed
from nas.data.sources.source import AUTO
from nas.store.words import count_of
from search_spaces.errors import UserError

from .layout import LAYOUT, ByClass, Reading, read_layout
from .tree import Tree, folded


@dataclass(frozen=True)
class Arranged:
    """Images by name, with a label and a split each.

    Attributes:
        classes: their names, by label.
        notes: what a person should know, a line each.
        lost: images that cannot be used, each with the reason.
    """

    names: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str]
    classes: tuple[str, ...]
    notes: Sequence[str] = ()
    lost: Sequence[tuple[str, str]] = ()


def arrange(tree: Tree, where: str, layout: str = AUTO) -> Arranged:
    """Find the images of a tree, which is at ``where``, their classes and splits.

    Args:
        layout: as of :func:`nas.data.folders.layout.read_layout`.

    Raises:
        UserError: it is empty, has one class, unknown classes in val/ or test/, no training split, or may be read in
            two ways.
    """
    reading = read_layout(tree, where, layout)
    at = {split: f"{where}/{root.path}" if root.path else where for split, root in reading.at.items()}
    found = {split: _images_of(by_class) for split, by_class in reading.splits.items()}
    train, lost = found["train"], sorted((each for part in tree.walk() for each in part.lost), key=_by_path)
    if not any(train.values()):
        loose = len(reading.at["train"].files)
        what = f"{loose} images without class sub-folders" if loose else "no images"
        if lost and not loose:
            what = f"{count_of(len(lost), 'image')}, none of which can be used ({lost[0][0]}: {lost[0][1]})"
        raise UserError(f"'{at['train']}' holds {what}; {LAYOUT}")
    classes = tuple(train)
    if len(classes) == 1:
        raise UserError(f"'{where}' has one class only, '{classes[0]}'; a classifier needs at least two: {LAYOUT}")
    if strange := [c for c in classes if not c.isprintable()]:
        raise UserError(f"'{where}' has a class folder named {strange[0]!r}, which cannot be printed; rename it")
    for split, by_class in found.items():
        if unknown := [c for c, files in by_class.items() if files and c not in train]:
            raise _unknown(unknown, classes, at[split], at["train"])
    label = {name: number for number, name in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    for split, own in found.items():
        for c, files in own.items():
            names += files
            labels += [label[c]] * len(files)
            splits += [split] * len(files)
    return Arranged(names, labels, splits, classes, _notes(tree, reading, classes), lost)


def _by_path(lost: tuple[str, str]) -> list[str]:
    return lost[0].split("/")


def _images_of(by_class: ByClass) -> dict[str, list[str]]:
    """Image files of each class, at any depth."""
    return {name: [path for tree in trees for path in tree.images()] for name, trees in by_class.items()}


def _unknown(unknown: Sequence[str], classes: Sequence[str], at: str, train: str) -> UserError:
    alike = [(mine, theirs) for mine in unknown for theirs in classes if folded(mine) == folded(theirs)]
    why = f" ('{alike[0][0]}' and '{alike[0][1]}' differ in capitals only)" if alike else ""
    return UserError(
        f"'{at}' has class {listed(unknown)}, which '{train}' has not{why}; every class needs "
        f"training images: rename or remove the folder"
    )


def _notes(tree: Tree, reading: Reading, classes: Sequence[str]) -> list[str]:
    notes = []
    if reading.aside:
        what = listed([f"{folder.path}/ ({count_of(folder.count(), 'image')})" for folder in reading.aside])
        notes.append(f"folders beside the splits ignored: {what}")
    inside = [t for split in reading.splits.values() for trees in split.values() for t in trees]
    others = [path for root in inside for part in root.walk() for path in part.others]
    if others:
        roots = [f"{root.path}/" for root in reading.at.values() if root.path]
        names = [_without(path, roots) for path in sorted(others, key=lambda path: path.split("/"))]
        notes.append(f"{len(others)} {'file is not an image' if len(others) == 1 else 'files are not images'}, "
                     f"ignored: {listed(names)}")  # fmt: skip
    if archives := [path for part in tree.walk() for path in part.archives]:
        notes.append(f"{count_of(len(archives), 'archive')} ignored: {listed(archives)}; unpack what holds images")
    placed = {id(part) for root in (*inside, *reading.aside) for part in root.walk()}
    if loose := [path for part in tree.walk() if id(part) not in placed for path in part.files]:
        notes.append(f"{count_of(len(loose), 'image')} outside of class folders ignored: {listed(loose)}")
    same = Counter(folded(name) for name in classes)
    if alike := [name for name in classes if same[folded(name)] > 1]:
        notes.append(f"classes whose names differ in capitals only: {listed(alike)}")
    return notes


def _without(path: str, roots: Iterable[str]) -> str:
    return path.removeprefix(next((root for root in roots if path.startswith(root)), ""))
