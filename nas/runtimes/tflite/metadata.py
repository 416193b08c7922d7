"""What a file says of its images and classes, twice: for Android's task library, and as the texts that were given.

The library reads a table of its own schema, ``metadata_schema.fbs`` of https://github.com/tensorflow/tflite-support,
and files with the names of classes from a ZIP archive that follows the network in the same file. The texts are a file
of that archive too, so that nothing but Python reads them.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TABLE = "TFLITE_METADATA"
"""Name of the library's table among the file's metadata."""
LABELS, TEXTS = "labels.txt", "nas.json"
"""Files of the archive."""

_IDENTIFIER = b"M001"
_FIRST_PARSER = "1.0.0"
_LEVELS = 255  # the library normalises values from 0 to 255, this project from 0 to 1
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1  # members of the schema's unions
_AXIS_LABELS = 2
_COLOURS = {1: 2, 3: 1}  # channels -> GRAYSCALE, RGB


def table(metadata: Mapping[str, str], names: tuple[str, str]) -> bytes | None:
    """The task library's table for an input and an output of some names; None: the texts don't say what images are.

    The numbers in ``Table.fill`` are those of the schema's fields.
    """
    if not {"input", "classes"} <= metadata.keys():
        return None
    given, classes = json.loads(metadata["input"]), json.loads(metadata["classes"])
    channels, height, width = given["input_size"]
    t = _Tables()
    size = t.table({0: t.number(width), 1: t.number(height)})
    properties = t.table({0: t.byte(_COLOURS.get(channels, 0)), 1: size})
    content = t.table({0: t.byte(_IMAGE_PROPERTIES), 1: properties})
    mean, std = ([_LEVELS * value for value in given[name]] for name in ("mean", "std"))
    unit = t.table({0: t.byte(_NORMALIZATION), 1: t.table({0: t.floats(mean), 1: t.floats(std)})})
    highest, lowest = ([(level - m) / s for m, s in zip(mean, std, strict=True)] for level in (_LEVELS, 0))
    stats = t.table({0: t.floats(highest), 1: t.floats(lowest)})
    about = "The middle of a photo, as the texts beside this table tell."
    image = t.table({0: t.text(names[0]), 1: t.text(about), 3: content, 4: t.tables([unit]), 5: stats})
    labels = t.table({0: t.text(LABELS), 1: t.text("Names of the classes."), 2: t.byte(_AXIS_LABELS)})
    about = f"A number for each of {len(classes)} classes, the largest for the likeliest."
    output = t.table({0: t.text(names[1]), 1: t.text(about), 6: t.tables([labels])})
    graph = t.table({2: t.tables([image]), 3: t.tables([output])})
    model = t.table({0: t.text("nas"), 3: t.tables([graph]), 7: t.text(_FIRST_PARSER)})
    return t.finish(model)


def with_archive(network: bytes, metadata: Mapping[str, str]) -> bytes:
    """A file: the network, and behind it the archive, uncompressed as the library wants it."""
    parts = {TEXTS: json.dumps(dict(metadata))}
    if "classes" in metadata:
        parts[LABELS] = "\n".join(_line(name) for name in json.loads(metadata["classes"]))
    file = io.BytesIO(network)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return file.getvalue()


def read_texts(path: Path) -> dict[str, str]:
    """The texts of a file; empty: it was not written by this project."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = json.loads(archive.read(TEXTS))
    except Exception:  # whatever zipfile and json raise on any bytes
        return {}
    return texts if isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()) else {}


def _line(name: Any) -> str:
    """A class's name in a line of its own."""
    return " ".join(str(name).split())


class _Tables:
    """Tables of a flatbuffer whose schema has no generated code here."""

    def __init__(self) -> None:
        import flatbuffers

        self._builder: Any = flatbuffers.Builder(1024)

    def text(self, text: str) -> tuple[str, int]:
        return "offset", self._builder.CreateString(text)

    def byte(self, value: int) -> tuple[str, int]:
        return "byte", value

    def number(self, value: int) -> tuple[str, int]:
        return "number", value

    def floats(self, values: Sequence[float]) -> tuple[str, int]:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return "offset", self._builder.EndVector()

    def tables(self, tables: Sequence[tuple[str, int]]) -> tuple[str, int]:
        self._builder.StartVector(4, len(tables), 4)
        for _, offset in reversed(tables):
            self._builder.PrependUOffsetTRelative(offset)
        return "offset", self._builder.EndVector()

    def table(self, fields: Mapping[int, tuple[str, int]]) -> tuple[str, int]:
        self._builder.StartObject(max(fields) + 1)
        for slot, (kind, value) in fields.items():
            if kind == "offset":
                self._builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "number":
                self._builder.PrependUint32Slot(slot, value, 0)
            else:
                self._builder.PrependInt8Slot(slot, value, 0)
        return "offset", self._builder.EndObject()

    def finish(self, root: tuple[str, int]) -> bytes:
        self._builder.Finish(root[1], _IDENTIFIER)
        return bytes(self._builder.Output())
