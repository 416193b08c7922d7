"""Images as grey or RGB pixels: of encoded files, or held in memory."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nas.data.folders.formats import NO_PERMISSION, TOO_LARGE, what_is
from search_spaces.errors import UserError, first_line

from .dataset import Ints
from .preparation import decode

FULL_CHECK_IMAGES = 50_000

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded(ABC):
    """Images decoded anew at every look, from a file each.

    Attributes:
        names: of the images within their data set.
        levels: as of :func:`nas.data.preparation.to_grey_or_rgb`.
    """

    names: tuple[str, ...]
    levels: tuple[float, float] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    @abstractmethod
    def file(self, index: int) -> Path | IO[bytes]:
        """The encoded image: a path, or a stream that nobody else reads from."""

    def content(self, index: int) -> bytes:
        """The encoded image itself."""
        file = self.file(index)
        return file.read_bytes() if isinstance(file, Path) else file.read()

    @abstractmethod
    def place(self, index: int) -> str:
        """Where a person finds the image."""

    def image(self, index: int) -> Image.Image:
        """The decoded image. Raises UserError where it cannot be decoded any more."""
        try:
            return decode(self.file(index), self.levels)
        except Exception as error:  # PIL's plugins raise nearly anything on damaged files
            raise UserError(f"cannot decode '{self.place(index)}' ({error}); repair or remove the file") from error


@dataclass(frozen=True)
class FileImages(Encoded):
    """Files of a folder."""

    root: Path

    def file(self, index: int) -> Path:
        return self.root / self.names[index]

    def content(self, index: int) -> bytes:
        with open(f"{self.root}/{self.names[index]}", "rb", buffering=0) as file:  # a path takes as long as its file
            return file.read()

    def place(self, index: int) -> str:
        return str(self.file(index))


@dataclass(frozen=True)
class Kept(Encoded):
    """Some of other images: the numbers ``keep``."""

    images: Encoded
    keep: Ints

    def file(self, index: int) -> Path | IO[bytes]:
        return self.images.file(int(self.keep[index]))

    def place(self, index: int) -> str:
        return self.images.place(int(self.keep[index]))


@dataclass(frozen=True)
class ArrayImages:
    """Decoded images held in memory: ``[h, w]`` or ``[h, w, 3]`` each; ``files``: what they were decoded from."""

    arrays: Sequence[Pixels]
    names: tuple[str, ...] = ()
    files: Encoded | None = None

    def __len__(self) -> int:
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.arrays[index])

    def name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def reason(error: Exception, head: bytes) -> str:
    """Why an image cannot be decoded, in a few words; ``head``: the first bytes of the file."""
    if isinstance(error, UnidentifiedImageError):
        return what_is(head)
    if isinstance(error, Image.DecompressionBombError):
        return TOO_LARGE
    if isinstance(error, PermissionError):
        return NO_PERMISSION
    return first_line(error)


@contextmanager
def quiet_pil() -> Iterator[None]:
    """Without PIL's remarks about odd metadata; what cannot be decoded is reported by name anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def threads() -> int:
    """Threads for decoding, which PIL does outside Python's lock."""
    return min(8, os.cpu_count() or 1)
