"""Hostile variants of valid files, each a function of a random generator.

Every function takes something valid and gives what somebody careless or malicious might hand over instead.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.store.files import FORMAT

_MANY_DIGITS = "many digits, put in as text"
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 255, 2**31, 2**63, 2**64, -(2**63), 10**300, 0.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), -float("inf"), "", "x", "\0", "nan", "1e999", "../../../outside", "/etc/hostname",
    "[red]markup[/red]", "\ud800", "\x1b[2J", "\u202e", "int8", "int8,int8", "fp32,blocks.1=w4a8", "embedded",
    "a" * 70_000, [], {}, [[]], [None], [0] * 1000, [1, "1"], {"": None}, {"space": 1, "genes": []}, _MANY_DIGITS,
)  # fmt: skip
"""Values of JSON that are of another type, size or meaning than expected."""

SIZES = (0, 1, 7, 8, 100, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
NAMES = (
    "../outside", "../../outside.jpg", "/outside.jpg", "a/../../outside.jpg", "..\\outside.jpg", "apple/../pear/x.jpg",
    "./apple/x.jpg", "", ".", "..", "/", "apple", "apple/", "a" * 300 + ".jpg", "x/" * 200 + "y.jpg", "apple/\0.jpg",
    "apple/\udcff.jpg", "apple/\n.jpg", "C:\\x.jpg", "-rf", "apple/x.tar", "train/apple/x.jpg", ".hidden/x.jpg",
)  # fmt: skip


class Executed:
    """What a pickle that is loaded carelessly does: it leaves a mark outside of the folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.mark), "w")


UNCHANGED = 0.05
"""Share of the changes that are none: a parser that refuses everything would show."""


def mark_of(folder: Path) -> Path:
    """What must never come to be: a file beside the folder that a case may use."""
    return folder.parent / "outside"


def raw(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """The bytes cut, flipped, moved, repeated, or others."""
    way, at = rng.randrange(14), rng.randrange(len(data) + 1)
    if rng.random() < UNCHANGED:
        return data
    span = rng.choice((1, 2, 4, 8, 16, 256))
    if way == 0:
        return data[:at]
    if way == 1:
        return data[at:]
    if way in (2, 3, 4):
        out = bytearray(data or b"\0")
        for _ in range(rng.choice((1, 1, 2, 8))):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    if way == 5:
        return data[:at] + rng.randbytes(span) + data[at + span :]
    if way == 6:
        return data[:at] + data[at + span :]
    if way == 7:
        return data[:at] + rng.randbytes(span) + data[at:]
    if way == 8:
        return data[:at] + data[max(0, at - span) : at] * rng.choice((2, 50)) + data[at:]
    if way == 9:
        return rng.choice(SIZES).to_bytes(8, "little") + data[8:]
    if way == 10:
        return data[:at] + rng.choice(SIZES).to_bytes(8, rng.choice(("little", "big"))) + data[at + 8 :]
    if way == 11:
        return rng.choice((b"", b"\0" * 64, b"\xff\xfe", b"\xff" * 4096, b"{", b"[" * 200_000, b"PK\3\4", b"null"))
    if way == 12:
        return pickle.dumps(Executed(mark_of(folder)), rng.choice((0, 2, 4)))
    return data[:at] + b"\xff\xfe\xc3\x28\x80" + data[at:]


def tree(value: Any, rng: random.Random) -> Any:
    """A JSON value with one to three of its parts changed, removed, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return rng.choice(STRANGE)
        holder, key = rng.choice(places)
        way = rng.randrange(8)
        if way < 4:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
        elif way == 4:
            del holder[key]
        elif way == 5:
            other, its = rng.choice(places)
            holder[key] = copy.deepcopy(other[its]) if its in _keys(other) else None
        elif way == 6 and isinstance(holder, dict):
            holder[rng.choice(("", "x", "format", "../x", str(key) + " "))] = copy.deepcopy(rng.choice(STRANGE))
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = {"x": holder[key]}
    return value


def _keys(holder: Any) -> Any:
    return holder.keys() if isinstance(holder, dict) else range(len(holder))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in _keys(value) if isinstance(value, dict | list) else ():
        yield value, key
        yield from _places(value[key])


def json_file(value: Any, rng: random.Random, folder: Path) -> bytes:
    """The JSON file of a value, with other structure, or with other bytes."""
    way = rng.randrange(20)
    if rng.random() < UNCHANGED:
        return json.dumps(value).encode()
    if way < 13:
        return json_text(tree(value, rng)).encode("utf-8", "surrogatepass")
    text = json.dumps(value)
    if way == 13:
        return (rng.choice(('{"a":', "[")) * rng.choice((500, 100_000))).encode()
    if way == 14 and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return (text[:-1] + f", {json.dumps(key)}: {json_text(rng.choice(STRANGE))}}}").encode()
    if way == 15:
        return json_text(rng.choice(STRANGE)).encode()
    if way == 16:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")))
    return raw(text.encode(), rng, folder)


def json_text(value: Any) -> str:
    """As a careless writer has it: with NaN, and with numbers of any length."""
    return json.dumps(value).replace(json.dumps(_MANY_DIGITS), "9" * 5000)


_TOML = (
    "0", "-1", "1e400", "nan", "inf", "-inf", "9223372036854775808", "9" * 5000, '""', '"../x"', '"\\u0000"', "[]",
    "{}", "[[]]", "true", "2020-01-01",
    "1979-05-27T07:32:00Z", "[1, 2]", '["int8"]', "'''x'''", "0x10", "1_000", "[" * 5000,
    "{a=" * 5000, "[" * 300 + "]" * 300, '"' + "a" * 70_000 + '"', "1e-320", "{ x = 1 }",
)  # fmt: skip


def toml_file(text: str, rng: random.Random, folder: Path) -> bytes:
    """A TOML file with other values or lines, or with other bytes."""
    if rng.random() < 0.3:
        return raw(text.encode(), rng, folder)
    lines = text.splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        key, sign, _ = lines[at].partition("=")
        way = rng.randrange(6)
        if way < 3 and sign:
            lines[at] = f"{key}= {rng.choice(_TOML)}"
        elif way == 3:
            del lines[at]
        elif way == 4:
            lines.insert(
                at, rng.choice((lines[at], f"{rng.choice(('x', 'name', 'latency', 'a.b.c'))} = {rng.choice(_TOML)}"))
            )
        else:
            lines[at] = rng.choice(("[latency]", "[[latency]]", "[latency.int8]", "[x]", "name.x = 1", "=", "[", ""))
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "replace")


def words(text: str, rng: random.Random, others: tuple[str, ...]) -> str:
    """A short text with other characters and parts."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        piece = rng.choice(
            (
                *others,
                "",
                ",",
                "=",
                ":",
                ".",
                " ",
                "\0",
                "\n",
                "é",
                "٣",
                "²",
                "-1",
                "nan",
                "1e9",
                "[b]",
                "../",
                text,
                "9" * 5000,
            )
        )
        text = text[:at] + piece + text[at if rng.random() < 0.5 else to :]
        text = text[:20_000]
    return text


def tensor_file(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A safetensors file with another head, other tensors or other metadata; where it can be, with a right checksum."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    way = rng.randrange(10)
    if rng.random() < UNCHANGED:
        return data
    if way < 3:
        return raw(data, rng, folder)
    if way < 5 or "nas" not in header.get("__metadata__", {}):
        text = json_file(header, rng, folder)
        size = len(text) if rng.random() < 0.8 else rng.choice(SIZES)
        return size.to_bytes(8, "little") + text + body
    from safetensors.torch import load, save

    tensors, note = load(data), json.loads(header["__metadata__"]["nas"])
    metadata = note["metadata"]
    if way < 8:
        metadata = tree(metadata, rng)
    else:
        tensors = other_tensors(tensors, rng)
    try:
        digest = checksum(tensors, metadata)
    except (TypeError, ValueError, AttributeError):
        digest = note["sha256"]
    note = {
        "format": rng.choice((FORMAT, FORMAT, FORMAT, FORMAT + 1, "x", None)),
        "sha256": digest,
        "metadata": metadata,
    }
    return bytes(save(tensors, {"nas": json_text(note)}))


def checksum(tensors: Mapping[str, torch.Tensor], metadata: Any) -> str:
    """The checksum that a file of tensors must have: over metadata, names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def other_tensors(tensors: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    """Some of the tensors of another type, shape, value or name, or gone."""
    found = dict(tensors)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not found:
            break
        name = rng.choice(list(found))
        tensor, way = found[name], rng.randrange(9)
        if way == 0:
            del found[name]
        elif way == 1:
            new = rng.choice(("", "x", "model/", "optimizer/x/y", "optimizer/9/exp_avg", "../x", "a/b/c"))
            found[new] = tensor.clone()
        elif way == 2:
            found[name] = tensor.to(rng.choice((torch.float16, torch.int64, torch.bool, torch.uint8, torch.float64)))
        elif way == 3:
            found[name] = torch.full(tensor.shape, float(rng.choice(("nan", "inf", "-1", "1e9")))).to(torch.float32)
        elif way == 4:
            found[name] = torch.zeros(rng.choice(((), (0,), (1,), (2, 2), (1, 1, 1, 1, 1), (7,))), dtype=tensor.dtype)
        elif way == 5:
            found[name] = tensor.reshape(-1)[: rng.randrange(tensor.numel() + 1)].clone()
        elif way == 6:
            found[name] = tensor[None].clone()
        elif way == 7:
            found[name] = tensor.flatten()[torch.randperm(tensor.numel())].reshape(tensor.shape)
        else:
            found[rng.choice(list(found))] = tensor.clone()
    return found


def torch_file(state: dict[str, torch.Tensor], data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A file of ``torch.save`` with other content, other archive members, or other bytes."""
    way = rng.randrange(10)
    if way < 4:
        return raw(data, rng, folder)
    if way < 6:
        return _other_zip(data, rng, folder)
    content: Any = other_tensors(state, rng)
    if way == 8:
        content = rng.choice((
            {"state_dict": content}, {"state_dict": {"state_dict": content}}, {"state_dict": None}, {"model": content},
            [*content.values()], {1: torch.zeros(1)}, {None: 1}, {("a",): torch.zeros(2)}, {"x": {"y": torch.zeros(1)}},
            None, 7, "x", torch.zeros(3), {"state_dict": [1]}, {**content, 3: torch.zeros(1)}, {**content, "epoch": 3},
            {"state_dict_ema": content}, {"x": torch.zeros(2).to_sparse()},
            {k: v.to("meta") for k, v in content.items()},
        ))  # fmt: skip
    if way == 9:
        content = {**content, "x": Executed(mark_of(folder))} if rng.random() < 0.5 else Executed(mark_of(folder))
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=rng.random() < 0.8)
    return buffer.getvalue()


def _other_zip(data: bytes, rng: random.Random, folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = rng.choice(
            [n for n in names if n.endswith(("data.pkl", "version", "byteorder"))] + [rng.choice(names)]
        )
        for name in names:
            content = old.read(name)
            if name == chosen:
                name = rng.choice((name, name, name, *NAMES[:6]))
                content = raw(content, rng, folder)
            new.writestr(name, content)
    return buffer.getvalue()


def array_file(arrays: dict[str, np.ndarray[Any, Any]], rng: random.Random, folder: Path) -> bytes:
    """An .npz file with other arrays, pickled objects among them, or with other bytes."""
    buffer = io.BytesIO()
    way = rng.randrange(10)
    if way < 4:
        found: dict[str, Any] = dict(arrays)
        name = rng.choice(list(found))
        found[name] = rng.choice((
            np.array([Executed(mark_of(folder))], dtype=object), np.zeros(0), np.zeros((2, 2), np.float32),
            np.array("x"), found[name][:1], found[name].T, np.full_like(found[name], np.nan), np.array(1.0),
        ))  # fmt: skip
        np.savez(buffer, **found)
        return buffer.getvalue()
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    return _other_zip_of(buffer.getvalue(), rng, folder) if way < 7 else raw(buffer.getvalue(), rng, folder)


def _other_zip_of(data: bytes, rng: random.Random, folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(
                rng.choice((name, name, *NAMES[:3])),
                raw(old.read(name), rng, folder) if rng.random() < 0.7 else old.read(name),
            )
    return buffer.getvalue()


_KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
          tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)  # fmt: skip


def tar_file(members: dict[str, bytes], rng: random.Random, folder: Path) -> bytes:
    """An archive with members of hostile names, kinds and sizes, or with other bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))) as archive:
        for name, content in members.items():
            archive.addfile(_member(name, len(content)), io.BytesIO(content))
            if rng.random() < 0.15:
                _hostile_member(archive, rng, name, content)
    data = buffer.getvalue()
    return raw(data, rng, folder) if rng.random() < 0.4 else data


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _hostile_member(archive: tarfile.TarFile, rng: random.Random, name: str, content: bytes) -> None:
    info = _member(rng.choice((*NAMES, name)), rng.choice((len(content), 0, len(content) // 2)))
    info.type = rng.choice(_KINDS)
    info.linkname = rng.choice(("../outside", "/etc/hostname", name, info.name, ""))
    if info.type != tarfile.REGTYPE:
        info.size = 0
    body = content[: info.size] + b"\0" * (info.size - len(content))
    try:
        archive.addfile(info, io.BytesIO(body))
    except (ValueError, UnicodeError, OverflowError):  # names that the format itself cannot hold
        return


Mutation = Callable[[Any, random.Random, Path], bytes]
