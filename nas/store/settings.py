"""Settings declared once: range, unit and help stand beside the field of the dataclass that holds them.

    @dataclass(frozen=True)
    class Resources:
        workers: Annotated[int, Setting("Processes that load images.", at_least=0)] = 1

:func:`check_settings` refuses from Python what the range forbids; the command line makes its flags from
:func:`declared_settings`. An error names a setting as `` `workers` ``, which the command line shows as its flag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from search_spaces.errors import UsageError, unknown_name
from search_spaces.schema import TYPE_NAMES, Range, is_finite, typed_fields

Choices = tuple[str, ...] | Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Setting(Range):
    """What is known of a setting beside its type and its default; the range is that of :class:`Range`.

    Attributes:
        help: one or two sentences for ``--help`` and the docs.
        unit: the unit of its values, for messages: ``seconds``, ``images``.
        choices: the texts that it may be, or a function that gives them, where listing them needs an import.
    """

    help: str = ""
    _: dataclasses.KW_ONLY
    unit: str = ""
    choices: Choices = ()

    def known(self) -> tuple[str, ...]:
        """The texts that it may be; empty: any."""
        return tuple(self.choices() if callable(self.choices) else self.choices)


SEED = Setting("Seed of everything random.", at_least=0, at_most=2**32 - 1)
"""The setting of every command that draws."""
LAYOUTS = ("auto", "classes", "splits")
LAYOUT = Setting("What the folders of the data are: classes, splits of classes, or auto.", choices=LAYOUTS)
"""The setting of every command that opens folders."""


@dataclass(frozen=True)
class Declared:
    """A setting as its dataclass declares it.

    Attributes:
        type: of its values: ``bool``, ``int``, ``float``, ``str``, or another.
        optional: whether it may be None.
        default: ``dataclasses.MISSING`` where it must be given.
    """

    name: str
    type: Any
    optional: bool
    default: Any
    setting: Setting


@cache
def declared_settings(kind: type) -> Mapping[str, Declared]:
    """The settings of a dataclass by name, in order; fields without a :class:`Setting` are left out."""
    settings = {}
    for field, hint in typed_fields(kind):
        setting = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Setting)), None)
        if setting is not None:
            plain, optional = _plain(hint)
            settings[field.name] = Declared(field.name, plain, optional, field.default, setting)
    return settings


def _plain(hint: Any) -> tuple[Any, bool]:
    """A type without its annotations and without None, and whether it may be None."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    others = [each for each in get_args(hint) if each is not NoneType]
    return (others[0] if len(others) == 1 else hint), NoneType in get_args(hint)


def check_settings(config: Any) -> None:
    """Refuse a value of the wrong type or outside its range, whoever gave it.

    Args:
        config: an instance of a dataclass; those that its fields hold are checked too.

    Raises:
        UsageError: names the first such setting, its value and the rule.
    """
    kind: type = type(config)
    settings = declared_settings(kind)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in settings:
            check_setting(settings[field.name], value)
        elif dataclasses.is_dataclass(value):
            check_settings(value)
        else:
            _check_finite(field.name, value)


def check_setting(declared: Declared, value: Any) -> None:
    """Refuse one value, as :func:`check_settings` does. Raises UsageError."""
    name, setting = declared.name, declared.setting
    if value is None and declared.optional:
        return
    if declared.type in TYPE_NAMES:
        types = (int, float) if declared.type is float else (declared.type,)
        if not isinstance(value, types) or (isinstance(value, bool) and declared.type is not bool):
            raise UsageError(f"`{name}` is {value!r}; it must be {TYPE_NAMES[declared.type]}")
    if isinstance(value, str) and (known := setting.known()) and value not in known:
        raise unknown_name(f"`{name}`", value, known)
    _check_finite(name, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not setting.allows(value):
        unit = f" {setting.unit}" if setting.unit else ""
        raise UsageError(f"`{name}` is {value:.15g}; it must be {setting.rule}{unit}")


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, (int, float)) and not is_finite(value):
        raise UsageError(f"`{name}` is {value}; it must be a finite number")
