"""The manifest of an exported folder: which files there are, and that they are what was exported."""

from __future__ import annotations

import json
from pathlib import Path

from nas.runtimes.runtime import Exported, ImageShape
from nas.runtimes.table import DEFAULT, by_suffix, file_names, get_runtime
from nas.store.exports import FilesManifest, InputSize
from nas.store.files import read_record
from nas.store.run import file_hash
from search_spaces.errors import UserError
from search_spaces.schema import convert

MANIFEST = "architecture.json"


def open_model(path: Path, digest: str | None = None) -> Exported:
    """A file in the runtime that its name tells, or in the default one.

    Args:
        digest: the hash that it must have; None: the one in its folder's manifest, where there is one.

    Raises:
        UserError: the runtime is missing, it cannot read the file, or the file is not what was exported.
    """
    has_hash = check_unaltered(path, digest)
    name = by_suffix(path.suffix)
    if name is not None and get_runtime(name).fragile and not has_hash and path.is_file():
        raise UserError(
            f"{path} has no {MANIFEST} beside it that tells its hash, and its runtime may end the process on a damaged "
            "file; give it in the folder that was exported"
        )
    return get_runtime(name or DEFAULT).open(path)


def exported_hashes(folder: Path) -> dict[str, str] | None:
    """Hashes of an exported folder's files by name, as its manifest tells them; None: it tells none, or is missing.
    Raises UserError: the manifest is damaged, or of a later version."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return None
    return read_record(manifest, FilesManifest).files


def exported_file(path: Path) -> Path | None:
    """The file that a path means: itself, or of an exported folder the first one of
    :func:`nas.runtimes.table.file_names` that is there and that the manifest, if any, names; None: neither.

    Raises:
        UserError: the manifest is damaged, or of a later version.
    """
    if by_suffix(path.suffix) is not None:
        return path
    listed = exported_hashes(path)
    names = file_names() if listed is None else [name for name in file_names() if name in listed]
    return next((path / name for name in names if (path / name).is_file()), None)


def check_unaltered(path: Path, digest: str | None = None) -> bool:
    """Compare a file with its hash, given or from its folder's manifest; whether there is one. Raises UserError: it is
    another file."""
    if not path.is_file():
        return False  # the runtimes say so
    if digest is None:
        digest = (exported_hashes(path.parent) or {}).get(path.name)
    if digest is not None and digest != (actual := file_hash(path)):
        raise UserError(
            f"{path} is not the file that was exported: its hash is {actual}, {MANIFEST} says {digest}; "
            "export it again: nas export"
        )
    return digest is not None


def input_size(model: Exported, path: Path) -> ImageShape:
    """Channels, height, width of a file's images. Raises UserError where the file does not say."""
    try:
        return convert(json.loads(model.metadata["input"]), InputSize).input_size
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"{path} was not exported by nas: it says nothing of its input") from None
