"""A folder of images, on disk or in an archive: what lies in it, sorted by kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .formats import ARCHIVE, IMAGE, OTHER


@dataclass
class Tree:
    """A folder without what is hidden. All paths are below the data set's root.

    Attributes:
        files: its images.
        lost: its images that cannot be used, each with the reason.
        archives, others: its other files.
    """

    path: str = ""
    folders: dict[str, Tree] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Tree:
        """The folder of that name, made where there is none yet."""
        return self.folders.setdefault(name, Tree(self.below(name)))

    def below(self, name: str) -> str:
        """Path of what is called ``name`` in this folder."""
        return f"{self.path}/{name}" if self.path else name

    def add(self, name: str, kind: str = IMAGE) -> None:
        """Add a file; ``kind`` as of :func:`nas.data.folders.formats.kind_of`, or the reason why the image cannot be
        used."""
        path = self.below(name)
        if kind == IMAGE:
            self.files.append(path)
        elif kind == ARCHIVE:
            self.archives.append(path)
        elif kind == OTHER:
            self.others.append(path)
        else:
            self.lost.append((path, kind))

    def walk(self) -> Iterator[Tree]:
        """This folder and all below, at any depth."""
        yield self
        for _, child in sorted(self.folders.items()):
            yield from child.walk()

    def images(self) -> list[str]:
        """All images, at any depth, in order of their paths."""
        return sorted((path for tree in self.walk() for path in tree.files), key=lambda path: path.split("/"))

    def count(self) -> int:
        """How many images there are at any depth, usable or not."""
        return sum(len(tree.files) + len(tree.lost) for tree in self.walk())

    def is_empty(self) -> bool:
        """Whether there is no file at any depth."""
        return not any(tree.files or tree.lost or tree.archives or tree.others for tree in self.walk())

    def holding(self) -> dict[str, Tree]:
        """The folders with images at any depth, in order of their names."""
        return {name: child for name, child in sorted(self.folders.items()) if child.count()}


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's images: ``.DS_Store``, ``__MACOSX``."""
    return name.startswith((".", "__MACOSX"))


def tree_of(files: Iterable[tuple[str, str]]) -> Tree:
    """The tree of an archive's files: the path and the kind of each, as of :meth:`Tree.add`."""
    root = Tree()
    for path, kind in files:
        parts = PurePosixPath(path.lstrip("/")).parts
        if not parts or any(hidden(part) for part in parts):
            continue
        at = root
        for folder in parts[:-1]:
            at = at.folder(folder)
        at.add(parts[-1], kind)
    return root


def same_form(name: str) -> str:
    """The composed form of a name: systems write one name in several ways that look alike."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What is equal for names that differ in their form or their case only."""
    return same_form(same_form(name).casefold())
