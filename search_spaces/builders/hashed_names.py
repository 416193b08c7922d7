"""Names of spaces that hold the start of a hash of what their model is made of.

In ``code:mypkg.build@1a2b3c4d5e6f:width=0.5`` it stands before the choices. So a run says when the code or the settings
that made its model have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from search_spaces.errors import UserError

_DIGITS = 12  # hexadecimal ones of a hash in a name


def hash_file(file: Path | str) -> str:
    """The start of a hash of a file's content. Raises OSError."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:_DIGITS]


def add_hash(word: str, prefix: str, hash_of: Callable[[str], str | None]) -> str:
    """The name of a space, ``prefix`` and all, with the hash of its model, unless it holds one already.

    Args:
        hash_of: of a model, by its name without prefix and choices; None: it has none.
    """
    model, *choices = word.removeprefix(prefix).split(":")
    if "@" in model or (digest := hash_of(model)) is None:
        return word
    return ":".join([f"{prefix}{model}@{digest}", *choices])


def split_hash(name: str, prefix: str) -> tuple[str, str, list[str], str]:
    """Model, hash (empty: it holds none) and choices of the name of a space, and that name without the hash."""
    model, *choices = name.removeprefix(prefix).split(":")
    model, _, digest = model.partition("@")
    return model, digest, choices, name.replace(f"@{digest}", "")


def check_hash(what: str, digest: str, now: str) -> None:
    """Raises UserError where ``what`` is another than when the name was made."""
    if now != digest:
        raise UserError(
            f"{what} has changed since this space was named ({digest}, now {now}); restore it, or train anew"
        )
