"""Records from files: what a JSON or TOML file must hold, declared as a dataclass, and checked before it is used.

    @dataclass(frozen=True)
    class Accuracy:
        value: Annotated[float, Range(at_least=0, at_most=1)]
        images: Count

    accuracy = read_content(content, Accuracy, path)

A dataclass is a table: its fields are keys, those with a default may be missing, and other keys are ignored unless the
record is ``closed``. A field whose key isn't its name says so: ``field(metadata={"key": ...})``. ``tuple[X, ...]`` is a
list, ``dict[str, X]`` a table with any keys, ``X | Y`` either, ``Literal`` one of its texts, ``Any`` anything. A number
must be finite, a whole number at most :data:`LARGEST`, and a truth value isn't a number. :class:`Range`,
:class:`Check`, :class:`Also` and :class:`Made` in ``Annotated`` say more.

This isn't msgspec or pydantic, since both fall short of what a file of a run needs: they turn the whole number of a
``float`` field into a ``float``, so that a file which is read and written again has other bytes (and a checkpoint
another hash); they accept infinities and whole numbers of any size where no bound stands beside the field; their errors
name neither the value nor the key of a table; and msgspec cannot read a dataclass whose JSON isn't its fields
(:class:`search_spaces.architecture.Architecture`).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UserError

T = TypeVar("T")

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""A value that JSON can hold."""

LARGEST = 2**53
"""The largest whole number that all JSON writers agree on."""

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
"""What a plain type is called in messages."""
_LONGEST = 60


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values a number may have: ``Annotated[float, Range(above=0, at_most=1)]``."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allows(self, value: float) -> bool:
        """Whether a number is within the range."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def rule(self) -> str:
        """The range in words: ``from 0 to 1``, ``at least 0 and below 1``."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:.15g} to {self.at_most:.15g}"
        limits = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below))
        return " and ".join(f"{word} {limit:.15g}" for word, limit in limits if limit is not None)


@dataclass(frozen=True)
class Check:
    """A rule of its own: ``problem`` says what is wrong with a value of the right type; empty: nothing."""

    problem: Callable[[Any], str]


@dataclass(frozen=True)
class Made:
    """How a value is made of JSON; ``make`` raises ValueError or TypeError where it cannot be. ``undo`` gives the JSON
    of a field's value; None: as :func:`to_json` has it."""

    make: Callable[[Any], Any]
    undo: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Also:
    """The value must satisfy another type too: what is known of a table that is kept as the file has it."""

    kind: Any


NOT_NULL = Check(lambda value: "null; leave the key out" if value is None else "")
"""For a field that is None where its key is missing, and only then."""
Count = Annotated[int, Range(at_least=0)]
Amount = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]


class SchemaError(ValueError):
    """A value isn't what its schema says; the message names the place, the value and the rule."""


def convert(value: object, kind: type[T], place: str = "it") -> T:
    """The record that a value of JSON holds, a dataclass or any other type of the module's description.

    Raises SchemaError, which names the first thing that is wrong, and calls the value ``place``.
    """
    if wrong := problem(value, kind, place):
        raise SchemaError(wrong)
    record: T = _build(value, kind)
    return record


def to_json(record: Any) -> Any:
    """The value of JSON that a record came from, or would come from: the inverse of :func:`convert`.

    Keys stand in the order of the fields. A field that is None is left out where None is its default, and is null
    where it has no default. A class with a method ``to_json`` of its own is asked.
    """
    if hasattr(record, "to_json"):
        return record.to_json()
    if dataclasses.is_dataclass(record):
        kind: Any = type(record)
        return {
            key_of(field): (_undo_of(hint) or to_json)(value)
            for field, hint in typed_fields(kind)
            if (value := getattr(record, field.name)) is not None or field.default is not None
        }
    if isinstance(record, Mapping):
        return {key: to_json(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [to_json(value) for value in record]
    return record


def read_content(value: object, kind: type[T], path: Path) -> T:
    """The record that the content of a file holds. Raises UserError with the file, the place, the value and the
    rule."""
    try:
        return convert(value, kind)
    except SchemaError as error:
        raise UserError(f"{path} is damaged: {error}; restore or remove it") from None


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key of a dataclass's field in a file."""
    key: str = field.metadata.get("key", field.name)
    return key


def problem(value: object, kind: Any, place: str = "it") -> str:
    """The first thing that is wrong with a value; empty: nothing."""
    return next(problems(value, kind, place), "")


def problems(value: object, kind: Any, place: str = "it", closed: bool = False) -> Iterator[str]:
    """Everything that is wrong with a value, see :func:`convert`; ``closed``: keys that a dataclass lacks are, too."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return
    if origin is Annotated:
        yield from _annotated_problems(value, arguments[0], arguments[1:], place, closed)
    elif origin in (Union, UnionType):
        several = [list(problems(value, each, place, closed)) for each in arguments]
        if all(several):
            yield from several[0]
    elif origin is Literal:
        if value not in arguments or isinstance(value, bool):
            yield f"{place} is {shown(value)}, not {' or '.join(map(shown, arguments))}"
    elif origin in (tuple, list, Sequence):
        yield from _list_problems(value, arguments, place, closed)
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            yield f"{place} is {shown(value)}, not a table"
        else:
            for key, each in value.items():
                yield from problems(each, arguments[1], _inside(place, key), closed)
    elif dataclasses.is_dataclass(kind):
        yield from _record_problems(value, kind, place, closed)
    elif not _is(value, kind):
        yield f"{place} is {shown(value)}, not {TYPE_NAMES[kind]}"


def _annotated_problems(value: object, kind: Any, notes: tuple[object, ...], place: str, closed: bool) -> Iterator[str]:
    for note in notes:
        if isinstance(note, Made):
            try:
                note.make(value)
            except (ValueError, TypeError) as error:
                yield f"{place}: {error}"
            return
    limits = [note for note in notes if isinstance(note, Range)]
    if limits and kind in (int, float):
        if not _is(value, kind) or not all(limit.allows(value) for limit in limits):  # type: ignore[arg-type]
            words = " and ".join(limit.rule for limit in limits)
            yield f"{place}: {shown(value)} is not {TYPE_NAMES[kind]}{' of' if words.startswith('at') else ''} {words}"
        return
    several = list(problems(value, kind, place, closed))
    yield from several
    for note in notes if not several else ():
        if isinstance(note, Also):
            yield from problems(value, note.kind, place)
        elif isinstance(note, Check) and (wrong := note.problem(value)):
            yield f"{place}: {wrong}"
        elif isinstance(note, Range) and isinstance(value, int | float) and not note.allows(value):
            yield f"{place}: {shown(value)} is not {note.rule}"


def _list_problems(value: object, arguments: tuple[Any, ...], place: str, closed: bool) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place} is {shown(value)}, not a list"
        return
    kinds = _kinds_of_items(arguments, len(value))
    if len(kinds) != len(value):
        yield f"{place} has {len(value)} entries, not {len(kinds)}"
        return
    for i, (each, kind) in enumerate(zip(value, kinds, strict=True)):
        yield from problems(each, kind, f"{place}[{i}]", closed)


def _kinds_of_items(arguments: tuple[Any, ...], count: int) -> Sequence[Any]:
    """Types of the entries of a list: one for all, or one for each place."""
    several = len(arguments) > 1 and arguments[-1] is not Ellipsis
    return arguments if several else arguments[:1] * count


def _record_problems(value: object, kind: Any, place: str, closed: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} is {shown(value)}, not a table"
        return
    hints = {key_of(field): hint for field, hint in typed_fields(kind)}
    for key in sorted(set(value) - set(hints)) if closed else ():
        near = difflib.get_close_matches(str(key), hints, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"keys are {', '.join(hints)}"
        yield f"unknown key '{_short(_inside(place, key))}', {hint}"
    sound = True
    for field, hint in typed_fields(kind):
        where = _inside(place, key := key_of(field))
        if key in value:
            for wrong in problems(value[key], hint, where, closed):
                sound = False
                yield wrong
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            sound = False
            yield f"{where} is missing"
    if sound and hasattr(kind, "__post_init__"):
        try:
            _build(value, kind)
        except ValueError as error:
            yield str(error) if place == "it" else f"{place}: {error}"


def _build(value: Any, kind: Any) -> Any:
    """The value that a checked value of JSON stands for."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        made = next((note for note in arguments[1:] if isinstance(note, Made)), None)
        return made.make(value) if made else _build(value, arguments[0])
    if origin in (Union, UnionType):
        return _build(value, next(each for each in arguments if not problem(value, each)))
    if origin in (tuple, list, Sequence):
        items = [_build(v, k) for v, k in zip(value, _kinds_of_items(arguments, len(value)), strict=True)]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        return {key: _build(each, arguments[1]) for key, each in value.items()}
    if dataclasses.is_dataclass(kind):
        record: Any = kind
        return record(
            **{f.name: _build(value[key_of(f)], hint) for f, hint in typed_fields(record) if key_of(f) in value}
        )
    return value


@cache
def typed_fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    """The fields of a dataclass with their types, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _undo_of(hint: Any) -> Callable[[Any], Any] | None:
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((note.undo for note in notes if isinstance(note, Made)), None)


def _is(value: object, kind: Any) -> bool:
    if kind in (None, NoneType):
        return value is None
    if isinstance(value, bool):
        return kind is bool
    if kind is int:
        return isinstance(value, int) and abs(value) <= LARGEST
    if kind is float:
        return isinstance(value, int | float) and is_finite(value)
    return isinstance(value, kind)


def is_finite(value: float) -> bool:
    """Whether a number is finite, as a float too."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _inside(place: str, key: object) -> str:
    """The name of an entry of a table."""
    return _short(str(key)) if place == "it" else f"{place}.{_short(str(key))}"


def shown(value: object) -> str:
    """A value in a message."""
    try:
        return _short(json.dumps(value))
    except (ValueError, TypeError, RecursionError):
        return "something else"


def _short(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text[: _LONGEST + 1])
    return printable if len(text) <= _LONGEST else f"{printable[:_LONGEST]}..."
