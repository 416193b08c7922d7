"""A folder of images as a source."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.decode import FileImages
from nas.data.folders.arrange import arrange
from nas.data.folders.formats import BROKEN_LINK, DEEP_LINK, EARLIER, HEAD_BYTES, SPECIAL, endings, kind_of, lost
from nas.data.folders.layout import LAYOUT
from nas.data.folders.tree import Tree, hidden
from search_spaces.errors import UserError

from .readable import keep_readable
from .source import Contents, Request

_LINKED = 2
"""Links are followed to split and class folders, not below, where they could lead back."""


class Folder:
    """A folder with one sub-folder of images per class."""

    def open(self, name: str, request: Request) -> Contents:
        folder = Path(name)
        if not folder.is_dir():
            raise UserError(f"'{folder}' is not a folder; {LAYOUT}")
        found = arrange(_tree(folder, EARLIER if request.earlier else endings()), str(folder), request.reading)
        return keep_readable(str(folder), FileImages(tuple(found.names), folder), found, request)


def _tree(folder: Path, images: frozenset[str]) -> Tree:
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
                    else:
                        tree.add(entry.name, _kind(entry, images))
        except OSError as error:
            raise UserError(f"cannot read '{path}' ({error.strerror}); make the folder readable") from error
    return root


def _kind(entry: os.DirEntry[str], images: frozenset[str]) -> str:
    if entry.is_file():
        return kind_of(entry.name, images, lambda: _head(entry.path))
    if entry.is_dir():
        return DEEP_LINK
    return lost(entry.name, images, BROKEN_LINK if entry.is_symlink() else SPECIAL)


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:  # said when it is decoded
        return b""
