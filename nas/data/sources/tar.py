"""An uncompressed tar file of a folder of images as a source."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from nas.data.decode import Encoded
from nas.data.layout import LAYOUT, Tree, arrange, tree_of
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError

from .readable import keep_readable
from .source import Contents


class Tar:
    """A tar file that is laid out as a folder of images, read with timm's reader."""

    def open(self, name: str, root: str | None, thorough: bool) -> Contents:
        try:
            # what timm keeps open between looks would be shared by threads and processes; its cache of names is a
            # pickle
            options = {"cache_tarfiles": False, "cache_tarinfo": False, "search_split": False}
            reader = timm.data.create_dataset("", root=name, **options).reader
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(
                f"'{name}' cannot be read ({error}); give an uncompressed tar file of a data folder"
            ) from None
        except ValueError:  # timm takes it for granted that there are images
            raise UserError(f"'{name}' holds no images; {LAYOUT}") from None
        numbers = {str(PurePosixPath(reader.filename(i))).lstrip("/"): i for i in range(len(reader))}
        found = arrange(_without_top(tree_of(numbers)), name)
        images = TarImages(tuple(found.names), name, reader, tuple(numbers[path] for path in found.names))
        return keep_readable(name, images, found, thorough)


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
    """Images of a tar file, each with the number that timm's reader has for it."""

    where: str
    reader: Any
    numbers: tuple[int, ...]

    def file(self, index: int) -> IO[bytes]:
        file: IO[bytes] = self.reader[self.numbers[index]][0]
        return file

    def place(self, index: int) -> str:
        return f"{self.where}:{self.names[index]}"
