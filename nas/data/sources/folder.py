"""A folder of images as a source."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.decode import FileImages
from nas.data.layout import LAYOUT, Tree, arrange, hidden
from search_spaces.errors import UserError

from .readable import keep_readable
from .source import Contents

_LINKED = 2
"""Links are followed to split and class folders, not below, where they could lead back."""


class Folder:
    """A folder with one sub-folder of images per class."""

    def open(self, name: str, root: str | None, thorough: bool) -> Contents:
        folder = Path(name)
        if not folder.is_dir():
            raise UserError(f"'{folder}' is not a folder; {LAYOUT}")
        found = arrange(_tree(folder), str(folder))
        return keep_readable(str(folder), FileImages(tuple(found.names), folder), found, thorough)


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
                        tree.add(entry.name)
        except OSError as error:
            raise UserError(f"cannot read '{path}' ({error.strerror}); make the folder readable") from error
    return root
