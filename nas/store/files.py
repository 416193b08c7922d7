"""Files that are written so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

from search_spaces.errors import UserError, install_hint
from search_spaces.schema import read_content

if TYPE_CHECKING:
    import torch

# All metadata is under one key: safetensors writes several in an order that changes from run to run, and equal
# weights must be equal files.
FORMAT = 1
"""Format of run.json, architecture.json and tensor files; raised when older versions cannot read what is written."""

_KEY = "nas"
T = TypeVar("T")


def atomic_write(path: Path, data: bytes) -> None:
    """Write to a temporary neighbour, flush it to disk, then rename it over ``path``. Raises OSError: as the file
    system says (full, read-only); ``path`` is then as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """As :func:`atomic_write`, for a path that a user chose. Raises UserError where it cannot be written."""
    try:
        atomic_write(path, content)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror}") from None


def absolute_path(text: str) -> str:
    """The absolute path of a file or folder that a text names on this machine; the text where it names none."""
    return str(Path(text).resolve()) if text and Path(text).exists() else text


def check_folder(path: Path | None) -> None:
    """Refuse to write a folder where a file is, before the work that would be lost. Raises UserError."""
    for each in () if path is None else (path, *path.parents):
        if each.is_file():
            raise UserError(f"`out` {path}: {each} is a file, and an export is a folder; give another path")


def write_json(path: Path, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=2) + "\n").encode())


def is_json(text: str) -> bool:
    """Whether a word is JSON itself, rather than a name or a path."""
    return text.lstrip().startswith("{")


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; restore or remove it") from None


def read_record(path: Path, kind: type[T]) -> T:
    """The record that a JSON file holds, see :mod:`search_spaces.schema`. Raises UserError: missing, damaged, or not a
    record of that kind; NewerFormat: of a later version."""
    content = read_json(path)
    check_format(content, path)
    return read_content(content, kind, path)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file, with metadata as JSON and a checksum of both; equal content gives equal bytes."""
    from safetensors.torch import save as serialise

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    note = {"format": FORMAT, "sha256": _checksum(plain, metadata), "metadata": dict(metadata)}
    atomic_write(path, serialise(plain, {_KEY: json.dumps(note)}))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of a file of :func:`save_tensors`. Raises UserError: missing, truncated, damaged or not a
    safetensors file; NewerFormat: of a later version."""
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[_KEY])
            check_format(note, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata: dict[str, Any] = note["metadata"]
        if not isinstance(metadata, dict) or note["sha256"] != _checksum(tensors, metadata):
            raise ValueError("its checksum is not that of its content")
        return tensors, metadata
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged or was not written by nas: its metadata is not as expected") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from None


class NewerFormat(UserError):
    """A file is whole, but a later version of nas wrote it in a form that this one cannot read."""


def check_format(content: Any, path: Path) -> None:
    """Refuse what a later version wrote in another form. Raises NewerFormat."""
    there = content.get("format", 1) if isinstance(content, dict) else 1
    if isinstance(there, int) and there > FORMAT:
        raise NewerFormat(
            f"{path} was written by a newer nas (format {there}; this one reads up to {FORMAT}); "
            f"upgrade: git pull, then {install_hint('.')}"
        )


def is_written_by_nas(path: Path) -> bool:
    """Whether :func:`save_tensors` wrote a file, by its header alone."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes, bytes and metadata: safetensors itself does not see a flipped bit."""
    import torch

    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
