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
        """Find, check and label the images of a folder.

        All images are decoded once (unless ``thorough``, headers only beyond 50,000 images); unreadable ones are left
        out with a warning.

        Raises:
            UserError: it isn't a folder, is empty, has one class, unknown classes in val/ or test/, or more than half
                of its images are unreadable.
        """
        folder = Path(name)
        if not folder.is_dir():
            raise UserError(f"'{folder}' is not a folder; {LAYOUT}")
        tree = arrange(_tree(folder), str(folder))
        images = FileImages(folder, tree.names)
        return keep_readable(str(folder), images, tree.labels, tree.splits, tree.classes, tree.notes, thorough)


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
