"""Files that are complete or not there."""

from __future__ import annotations

from pathlib import Path

from nas.store.files import atomic_write
from search_spaces.errors import UserError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in the place of an earlier one. Raises UserError where it cannot be written."""
    try:
        atomic_write(path, content)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror}") from None
