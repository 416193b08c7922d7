"""Flags of a command from the settings of a dataclass, whose ranges and help are declared there.

    @flags_from(TrainConfig, follow={"space": ("out",)})
    def train_supernet(settings: TrainConfig, out: Path | None = None) -> None:

The command has a flag per setting, then the function's own parameters. A parameter of a setting's name stands in its
place: what it gives, the function puts into the settings itself. A field without a default must have such a parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from nas.store.settings import Declared, declared_settings

from .completion import Completions
from .messages import PARAMETERS, as_flags

Result = TypeVar("Result")
_HELD = "settings"


def flags_from(
    kind: type,
    follow: Mapping[str, tuple[str, ...]] | None = None,
    complete: Mapping[str, Callable[[str], Completions]] | None = None,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorate a function that takes ``settings`` of a class as a command with their flags.

    Args:
        kind: a dataclass whose fields carry a :class:`nas.store.settings.Setting`.
        follow: parameter -> those that follow it in the help, out of the order of the fields and then of the function.
        complete: parameter -> what a shell completes of it.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        hints = get_type_hints(function, include_extras=True)
        given = {name: p for name, p in inspect.signature(function).parameters.items() if name != _HELD}
        settings = {PARAMETERS.get(name, name): declared for name, declared in declared_settings(kind).items()}
        made = {name: declared for name, declared in settings.items() if name not in given}
        parameters = {name: _parameter(name, declared, (complete or {}).get(name)) for name, declared in made.items()}
        parameters |= {
            name: p.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY) for name, p in given.items()
        }
        needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        order = list(parameters)
        for place, names in (follow or {}).items():
            order = [name for name in order if name not in names]
            start = order.index(place) + 1
            order[start:start] = names

        @wraps(function)
        def command(**values: Any) -> Result:
            chosen = {declared.name: values.pop(name) for name, declared in made.items()}
            settings = kind(**{name: values[name] for name in needed}, **chosen)
            return function(settings=settings, **values)

        command.__signature__ = inspect.Signature([parameters[name] for name in order])  # type: ignore[attr-defined]
        command.__annotations__ = {name: parameters[name].annotation for name in order}
        return command

    return decorate


def _parameter(name: str, declared: Declared, complete: Callable[[str], Completions] | None) -> Parameter:
    setting, flag = declared.setting, f"--{name.replace('_', '-')}"
    number = declared.type in (int, float)
    option = typer.Option(
        *([_switch(flag, declared.default)] if declared.type is bool and not declared.optional else []),
        help=as_flags(setting.help),
        min=(setting.at_least if setting.above is None else setting.above) if number else None,
        max=(setting.at_most if setting.below is None else setting.below) if number else None,
        show_default=declared.default is not None,
        autocompletion=complete,
    )
    hint: Any = declared.type | None if declared.optional else declared.type
    annotation: Any = Annotated[hint, option]
    default = Parameter.empty if declared.default is MISSING else declared.default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _switch(flag: str, default: object) -> str:
    """The flag that sets what is off, or the two of a setting that is on."""
    return f"{flag}/--no-{flag.removeprefix('--')}" if default is True else flag
