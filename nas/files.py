"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from search_spaces.errors import UserError


def atomic_write(path: Path, data: bytes) -> None:
    """Write to a temporary neighbour, flush it to disk, then rename it over ``path``.

    Raises:
        OSError: as the file system says (full, read-only); ``path`` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file; metadata values are stored as JSON."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, serialise(plain, {key: json.dumps(value) for key, value in metadata.items()}))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of a file of :func:`save_tensors`.

    Raises:
        UserError: missing, truncated or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from None
