"""What a file is: an image that Pillow reads, one that it does not read, an archive, or something else."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from functools import cache

from PIL import Image

EARLIER = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Endings of images for earlier versions, whose runs are read as they were."""
EARLIER_TAR = frozenset({".png", ".jpg", ".jpeg"})
"""The same in tar files, which timm read."""

_NO_PICTURES = frozenset({"BUFR", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "WMF"})
"""Formats that Pillow recognises but does not decode by itself."""
_PROGRAMS = frozenset({"EPS"})
"""Formats that Pillow has another program run."""
_UNREAD = frozenset(
    {".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".webp", ".dcm", ".svg", ".psb", ".xcf", ".cr2", ".cr3", ".crw",
     ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"}
)  # fmt: skip
"""Endings of images that no Pillow reads, or not every one."""
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst"})

IMAGE, ARCHIVE, OTHER = "image", "archive", "not an image"
UNREAD = "image of a format that Pillow does not read"
BROKEN_LINK = "link to a file that is not there"
DEEP_LINK = "link to a folder below a class"
SPECIAL = "pipe, socket or device"
NO_PERMISSION = "no permission to read it"
TOO_LARGE = "more pixels than Pillow decodes"
EMPTY = "empty file"
POINTER = "Git LFS pointer, not the file itself"
PAGE = "web page, not an image"
UNKNOWN = "no image of a known format"

HEAD_BYTES = 256
"""What is read of a file to say what it is."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@cache
def endings() -> frozenset[str]:
    """Endings of the files that this Pillow decodes, in lower case with the dot."""
    Image.preinit()  # the usual formats first: Pillow tries them in the order in which they were loaded
    known = Image.registered_extensions()
    return frozenset(ending for ending, kind in known.items() if _decodes(kind))


def _decodes(kind: str | None) -> bool:
    return kind in Image.OPEN and kind not in _NO_PICTURES | _PROGRAMS


def kind_of(name: str, images: frozenset[str], head: Callable[[], bytes]) -> str:
    """What the file ``name`` is: :data:`IMAGE`, :data:`UNREAD`, :data:`ARCHIVE` or :data:`OTHER`.

    Args:
        images: endings of images.
        head: its first :data:`HEAD_BYTES`; asked for where the ending says nothing.
    """
    ending = _ending(name)
    if ending in images:
        return IMAGE
    if ending in _UNREAD:
        return UNREAD
    if ending in _ARCHIVES:
        return ARCHIVE
    if images in (EARLIER, EARLIER_TAR) or (ending and mimetypes.guess_type(f"x{ending}")[0] is not None):
        return OTHER
    return _sniff(head())


def _ending(name: str) -> str:
    """In lower case with the dot; as a path says it, which would take longer than all else that is done with a name."""
    file = name.rpartition("/")[2]
    dot = file.rfind(".")
    return file[dot:].lower() if 0 < dot < len(file) - 1 else ""


def lost(name: str, images: frozenset[str], reason: str) -> str:
    """The ``reason`` why the file ``name`` cannot be used if it may be an image, else what it is by its ending."""
    return reason if kind_of(name, images, bytes) in (IMAGE, UNREAD) or "." not in name else OTHER


def _sniff(head: bytes) -> str:
    Image.init()
    forms = (form for form in Image.OPEN if _decodes(form) and form not in _VAGUE)
    if any(_accepts(form, head) for form in forms):
        return IMAGE
    return what if (what := what_is(head)) in (UNREAD, POINTER) else OTHER


def _accepts(form: str, head: bytes) -> bool:
    """Whether Pillow takes a file for one of this format, by its first bytes."""
    accepts = Image.OPEN[form][1]
    try:
        return accepts is not None and accepts(head[:16]) is True  # a text says which part of Pillow is missing
    except Exception:  # of fewer bytes than expected
        return False


_VAGUE = frozenset({"TGA", "PCX", "SPIDER", "XVTHUMB", "IM", "IMT", "PCD", "CUR", "MSP", "FLI"})
"""Formats whose first bytes many other files have too."""


def what_is(head: bytes) -> str:
    """What a file is that Pillow does not open, by its first bytes."""
    if not head:
        return EMPTY
    if head[4:8] == b"ftyp" and head[8:12] in (*_HEIF, b"avif", b"avis"):
        return UNREAD
    if head[128:132] == b"DICM" or head.startswith(_TIFF):  # of TIFF files, Pillow reads the usual kinds
        return UNREAD
    if head.startswith(b"version https://git-lfs"):
        return POINTER
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return PAGE
    return UNKNOWN


ADVICE = {
    UNREAD: "convert them to JPEG or PNG",
    BROKEN_LINK: "restore the files or remove the links",
    DEEP_LINK: "such links are not followed: put the folders in their places",
    SPECIAL: "remove them",
    NO_PERMISSION: "make them readable",
    TOO_LARGE: "make them smaller",
    EMPTY: "copy them again",
    POINTER: "fetch the files: git lfs pull",
    PAGE: "download them again",
}
"""What to do about images that are left out for a reason; for other reasons: repair or remove them."""
