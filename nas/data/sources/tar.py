"""An uncompressed tar file of a folder of images as a source, read in place."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from nas.data.decode import Encoded
from nas.data.folders.arrange import arrange
from nas.data.folders.formats import BROKEN_LINK, DEEP_LINK, EARLIER_TAR, HEAD_BYTES, endings, kind_of, lost
from nas.data.folders.layout import LAYOUT
from nas.data.folders.tree import tree_of
from search_spaces.errors import UserError

from .readable import keep_readable
from .source import Contents, Request

Place = tuple[int, int]
"""Where a file begins in the archive, and its length."""
_NOWHERE = (0, 0)
_FOLDER = (0, -1)


class Tar:
    """A tar file that is laid out as a folder of images."""

    def open(self, name: str, request: Request) -> Contents:
        known = EARLIER_TAR if request.earlier else endings()
        try:
            with open(name, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                places = dict(_places(archive))
                kinds = [(path, _kind(path, place, known, file)) for path, place in places.items()]
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise UserError(
                f"'{name}' cannot be read ({error}); give an uncompressed tar file of a data folder"
            ) from None
        if not kinds:
            raise UserError(f"'{name}' holds no images; {LAYOUT}")
        found = arrange(tree_of(kinds), name, request.reading)
        where = {path.lstrip("/"): place for path, place in places.items()}
        images = TarImages(tuple(found.names), name, tuple(where[path] for path in found.names))
        return keep_readable(name, images, found, request)


def _places(archive: tarfile.TarFile) -> Iterator[tuple[str, Place]]:
    """Path and place of every file and link."""
    members = {posixpath.normpath(member.name): member for member in archive}
    for path, member in members.items():
        if member.isfile() or member.islnk() or member.issym():
            yield path, _follow(member, members)


def _follow(member: tarfile.TarInfo, members: Mapping[str, tarfile.TarInfo]) -> Place:
    at: tarfile.TarInfo | None = member
    for _ in range(8):
        if at is None or not (at.issym() or at.islnk()):
            break
        folder = posixpath.dirname(at.name) if at.issym() else ""
        at = members.get(posixpath.normpath(posixpath.join(folder, at.linkname)))
    if at is None or not (at.isfile() or at.isdir()):
        return _NOWHERE
    return _FOLDER if at.isdir() else (at.offset_data, at.size)


def _kind(path: str, place: Place, known: frozenset[str], file: IO[bytes]) -> str:
    if place == _FOLDER:
        return DEEP_LINK
    if place == _NOWHERE:
        return lost(path, known, BROKEN_LINK)

    def head() -> bytes:
        file.seek(place[0])
        return file.read(min(HEAD_BYTES, place[1]))

    return kind_of(path, known, head)


@dataclass(frozen=True)
class TarImages(Encoded):
    """Images of a tar file, each with its place in it."""

    where: str
    places: tuple[Place, ...]

    def file(self, index: int) -> IO[bytes]:
        start, length = self.places[index]
        with open(self.where, "rb") as file:
            file.seek(start)
            return io.BytesIO(file.read(length))

    def place(self, index: int) -> str:
        return f"{self.where}:{self.names[index]}"
