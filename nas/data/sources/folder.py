"""A folder of images as a source, or a tar file of one."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nas.data.decode import Encoded, FileImages
from nas.data.layout import LAYOUT, Tree, arrange, hidden, tree_of
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError

from .source import Source, checked

_LINKED = 2
"""Links are followed to split and class folders, not below, where they could lead back."""


def open_folder(folder: Path, thorough: bool = False) -> Source:
    """Find, check and label the images of a folder.

    All images are decoded once (unless ``thorough``, headers only beyond 50,000 images); unreadable ones are left out
    with a warning.

    Raises:
        UserError: the folder is missing or empty, has one class, unknown classes in val/ or test/, or more than half
            of its images are unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is {'not a folder' if folder.exists() else 'missing'}; {LAYOUT}")
    found = arrange(_tree(folder), str(folder))
    images = FileImages(folder, found.names)
    return checked(str(folder), images, found.labels, found.splits, found.classes, found.notes, thorough)


def _tree(folder: Path) -> Tree:
    root = Tree()
    pending = [(folder, root, 0)]
    while pending:
        path, tree, depth = pending.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if hidden(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=depth < _LINKED):
                        pending.append((path / entry.name, tree.folder(entry.name), depth + 1))
                    elif entry.is_file():
                        tree.files.append(f"{tree.path}/{entry.name}".lstrip("/"))
        except OSError as error:
            raise UserError(f"cannot read '{path}' ({error.strerror}); make the folder readable") from error
    return root


def open_tar(path: Path, thorough: bool = False) -> Source:
    """The images of an uncompressed tar file, read with timm's reader, laid out as :func:`open_folder` has it.

    Raises:
        UserError: no tar file, a damaged or compressed one, or as :func:`open_folder`.
    """
    try:
        # what timm keeps open between looks would be shared by threads and processes; its cache of names is a pickle
        options = {"cache_tarfiles": False, "cache_tarinfo": False, "search_split": False}
        reader = timm.data.create_dataset("", root=str(path), **options).reader
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); give an uncompressed tar file of a data folder") from None
    except ValueError:  # timm takes it for granted that there are images
        raise UserError(f"'{path}' holds no images; {LAYOUT}") from None
    numbers = {str(PurePosixPath(reader.filename(i))).lstrip("/"): i for i in range(len(reader))}
    found = arrange(_without_top(tree_of(numbers)), str(path))
    images = TarImages(str(path), reader, tuple(numbers[name] for name in found.names), found.names)
    return checked(str(path), images, found.labels, found.splits, found.classes, found.notes, thorough)


def _without_top(tree: Tree) -> Tree:
    """Below the folder that was packed: ``tar -cf photos.tar photos`` has it in every name."""
    while len(tree.folders) == 1 and not tree.files:
        (only,) = tree.folders.values()
        if not only.folders:
            break
        tree = only
    return tree


@dataclass(frozen=True)
class TarImages(Encoded):
    """Images of a tar file: the numbers that timm's reader has for them, and their names."""

    where: str
    reader: Any
    numbers: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def file(self, index: int) -> IO[bytes]:
        found: IO[bytes] = self.reader[self.numbers[index]][0]
        return found

    def name(self, index: int) -> str:
        return self.names[index]

    def place(self, index: int) -> str:
        return f"{self.where}:{self.names[index]}"
