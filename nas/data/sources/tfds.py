"""TensorFlow's data sets by timm's names: ``tfds/mnist``."""

from __future__ import annotations

from contextlib import suppress

from search_spaces.errors import UserError

from .source import Contents, Request
from .stream import create, read_streams


class Tfds:
    """``tfds/NAME``; nothing is downloaded."""

    def open(self, name: str, request: Request) -> Contents:
        """Its ``validation`` becomes the search split and its ``test`` the test split where there are any."""
        full = f"tfds/{name.partition('/')[2]}"
        # a streamed image needs a mode; elsewhere an empty one keeps grey images grey
        parts = {"train": create(full, request.root, "train", input_img_mode="RGB")}
        for split, its in {"search": "validation", "test": "test"}.items():
            with suppress(UserError):
                parts[split] = create(full, request.root, its, input_img_mode="RGB")
        return read_streams(name, parts, request)
