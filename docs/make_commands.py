"""Write docs/commands.md from the commands themselves: ``python docs/make_commands.py``; ``--check`` only compares.

What is read is what typer reads: the signatures of the functions behind the commands.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from nas.cli.main import make_app

PAGE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

Written from the code by `python docs/make_commands.py`, and kept current by a test. Or: `nas COMMAND --help`.

Values come from, the last one wins: the default; the file of `--config`, whose keys are flags (`max-latency = 3`; where
a command has `--print-config`, that prints all its options as such a file); the environment (`NAS_`, the command and
the flag in capitals: `NAS_SEARCH_MAX_LATENCY=3`; where the name is another, the table says so); the flag.
`nas --debug COMMAND ...` shows where an error comes from.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an error: the message says what was given, the rule, and the fix |
| 2 | wrong usage: a flag, a name or a value that cannot be |
| 3 | no candidate keeps to the bounds |
| 130 | interrupted: what was done is saved, and the line that resumes it is printed |
| 141 | whoever read the output has gone, as `head` does; results that take long are on disk before they are printed |

"""
_TYPES = {str: "text", int: "whole number", float: "number", Path: "path", bool: ""}


def commands(app: typer.Typer, prefix: str = "nas") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command with its full name, in the order of ``nas --help``."""
    for info in app.registered_commands:
        assert info.callback is not None
        yield f"{prefix} {info.name or info.callback.__name__.replace('_', '-')}", info.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix} {group.typer_instance.info.name}")


def describe(name: str, function: Callable[..., Any]) -> str:
    """The section of one command."""
    hints = get_type_hints(function, include_extras=True)
    rows: dict[type, list[str]] = {ArgumentInfo: [], OptionInfo: []}
    usage = name
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if get_origin(hint) is not Annotated:  # what typer hands in by itself, as its context
            continue
        kind = next(each for each in hint.__metadata__ if isinstance(each, ArgumentInfo | OptionInfo))
        if kind.hidden:
            continue
        rows[type(kind)].append(_row(name, parameter, _bare(hint.__origin__), kind))
        if isinstance(kind, ArgumentInfo):
            usage += (
                f" {parameter.name.upper()}" if parameter.default is parameter.empty else f" [{parameter.name.upper()}]"
            )
    text = f"## {name}\n\n```\n{usage} [flags]\n```\n\n{inspect.getdoc(function)}\n"
    for title, found in (("argument", rows[ArgumentInfo]), ("flag", rows[OptionInfo])):
        if found:
            text += f"\n| {title} | value | default | |\n|---|---|---|---|\n" + "\n".join(found) + "\n"
    return text


def _bare(hint: Any) -> Any:
    """The type of one value: without None, and of a list its entries'."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    return get_args(hint)[0] if get_origin(hint) is list else hint


def _row(command: str, parameter: inspect.Parameter, hint: Any, kind: ArgumentInfo | OptionInfo) -> str:
    plain = parameter.name.replace("_", "-")
    if isinstance(kind, ArgumentInfo):
        names = [parameter.name.upper()]
    else:
        pair = [f"--{plain}", f"--no-{plain}"] if hint is bool else [f"--{plain}"]
        given = [kind.default] if isinstance(kind.default, str) else []  # the first name, in Annotated[...]
        names = [word for each in [*given, *(kind.param_decls or ())] or pair for word in each.split("/")]
    help_text = (kind.help or "").strip()
    if isinstance(kind, OptionInfo) and f"--{plain}" not in names:
        help_text += f" Environment: `{'_'.join([*command.split(), parameter.name]).replace('-', '_').upper()}`."
    nothing = any(parameter.default is each for each in (None, False, "", parameter.empty))
    default = "" if nothing else f"`{parameter.default}`"
    cells = (", ".join(f"`{word}`" for word in names), _value(hint, kind), default, help_text.strip())
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(cell: str) -> str:
    """For a cell of a Markdown table, where code and prose are escaped alike."""
    return cell.replace("|", "\\|") if cell.startswith("`") else cell.replace("|", "\\|").replace("<", "&lt;")


def _value(hint: Any, kind: ArgumentInfo | OptionInfo) -> str:
    """What kind of value, with its range."""
    text = _TYPES[hint]
    if kind.min is not None and kind.max is not None:
        return f"{text}, {kind.min:.12g} to {kind.max:.12g}"
    return text if kind.min is None else f"{text}, {kind.min:.12g} or more"


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(describe(name, function) for name, function in commands(make_app()))


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE} is not what the code says: python docs/make_commands.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        PAGE.write_text(page(), encoding="utf-8")
