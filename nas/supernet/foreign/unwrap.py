"""The weights of a network within what a training wrote around them.

Frameworks wrap twice: tensors lie in a table beside optimizer, epoch and settings, and their names get a beginning from
every module around the network (``model.``, ``module.``, ``_orig_mod.``, ``backbone.``), or a part in the middle
(``blocks.0._checkpoint_wrapped_module.conv_dw.weight``). Nothing here knows a framework: of all tables and beginnings,
those count that leave most names as the network has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Size, Tensor

Tensors = Mapping[str, Tensor]

_DEEPEST = 6  # tables within tables
_AVERAGED = re.compile(r"(^|[._])(ema|swa|average[sd]?|averaged)([._]|$|model)", re.IGNORECASE)
_LISTED = 3


@dataclass(frozen=True)
class Unwrapped:
    """Tensors without their wrapping.

    Attributes:
        tensors: by their own names.
        place: the table that they were in and the beginning of their names, ``state_dict: model.``; empty: none.
        notes: for the user, a line each: what was chosen, and what lay beside it.
    """

    tensors: dict[str, Tensor]
    place: str = ""
    notes: tuple[str, ...] = ()


def unwrap(content: object, marks: Sequence[Sequence[str]], names: Mapping[str, Size], what: str) -> Unwrapped:
    """The tensors of a network in the content of a file.

    Args:
        content: tables, lists, tensors and other values, as a file of torch's has them.
        marks: for each layout of other projects, names that are all there in one of its files.
        names: shapes of the network's tensors by name; a layout comes first.
        what: the file in messages.
    """
    tables = dict(_tables(content))
    for mark in marks:
        for path, table in tables.items():
            for name in table:
                begin = name.removesuffix(mark[0])
                if (not begin or begin.endswith(".")) and all(begin + each in table for each in mark):
                    return _cut(path, table, begin, {}, what)
    found = _count_names(tables, names)
    if not found:
        path, table = max(tables.items(), key=lambda item: len(item[1]), default=("", {}))
        return Unwrapped(dict(table), path)
    most = max(found.values())
    best = [place for place, counts in found.items() if counts == most]
    best.sort(key=lambda place: _AVERAGED.search(".".join(place)) is None)
    path, begin = best[0]
    cut = _cut(path, tables[path], begin, names, what)
    if len(best) == 1:
        return cut
    listed = ", ".join(f"'{_place(*place)}'" for place in best[1:][:_LISTED])
    note = f"{what} holds such weights {len(best)} times: '{cut.place}' is taken, not {listed}"
    return replace(cut, notes=(note, *cut.notes))


def _tables(content: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every table of a file that holds tensors, by its path."""
    items: list[tuple[object, object]] = []
    if isinstance(content, Mapping):
        items = list(content.items())
    elif isinstance(content, (list, tuple)):
        items = list(enumerate(content))
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for name, value in items if depth < _DEEPEST else ():
        yield from _tables(value, f"{path}.{name}" if path else str(name), depth + 1)


def _count_names(tables: Mapping[str, Tensors], names: Mapping[str, Size]) -> dict[tuple[str, str], tuple[int, int]]:
    """How many names of the network there are in a table behind a beginning, and how many with its shapes; by table and
    beginning."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for path, table in tables.items():
        for name, tensor in table.items():
            parts = name.split(".")
            for cut in range(len(parts)):
                shape = names.get(".".join(parts[cut:]))
                if shape is not None:
                    place = path, "".join(f"{part}." for part in parts[:cut])
                    alike, same = counts.get(place, (0, 0))
                    counts[place] = alike + 1, same + (tensor.shape == shape)
    return counts


def _cut(path: str, table: Tensors, begin: str, names: Mapping[str, Size], what: str) -> Unwrapped:
    """The tensors of a table whose names begin so, without that beginning; and those whose names are the network's
    without it, or without parts that no name of the network has."""
    there = {name.removeprefix(begin): tensor for name, tensor in table.items() if name.startswith(begin)}
    outside = {name: tensor for name, tensor in table.items() if not name.startswith(begin)}
    known = {part for name in names for part in name.split(".")}
    for name in [name for name in there if name not in names]:
        plain = ".".join(part for part in name.split(".") if part in known)
        if plain in names and plain not in there:
            there[plain] = there.pop(name)
    for name in [name for name in outside if name in names and name not in there]:
        there[name] = outside.pop(name)
    notes: tuple[str, ...] = ()
    if outside:
        listed = ", ".join(list(outside)[:_LISTED]) + (" ..." if len(outside) > _LISTED else "")
        notes = (f"{what}: {len(outside)} tensors beside those of the network are left out: {listed}",)
    return Unwrapped(there, _place(path, begin), notes)


def _place(path: str, begin: str) -> str:
    return ": ".join(part for part in (path, begin) if part)
