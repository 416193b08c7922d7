"""The command line: its commands, and how they end. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError, presentable

from .code import allow_typed_code
from .commands import COMMANDS, GROUPS
from .encoding import flush, write_anything
from .messages import explain, refuse_empty, speak_of, usage, with_flags
from .options import EXIT_CUT, EXIT_INTERRUPTED, command_line


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 no feasible candidate, 130 interrupted, 141 whoever
    read the output has gone."""
    write_anything()
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        arguments = allow_typed_code(arguments)
        refuse_empty(arguments)
        code = _command(arguments)(arguments or ["--help"], prog_name="nas", standalone_mode=False, obj=main)
    except UserError as error:
        _fail(error, debug, with_flags(str(error)), error.exit_code)
    except OSError as error:
        _fail(error, debug, explain(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # of which typer makes exit code 1
            raise
        code = EXIT_CUT
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's errors of usage, which have no public class in common
            _fail(error, debug, usage(error), 2)
        _fail(error, debug, f"unexpected {type(error).__name__}: {error}\nthis is a bug; --debug shows where", 1)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code, with nothing said
        again = command_line(["nas", *arguments])
        print(f"stopped; what was done is saved. To resume: {again}", file=sys.stderr)
    _exit(int(code or 0))


def make_app(only: str | None = None) -> typer.Typer:
    """All commands; where ``only`` is one of them, the others are merely listed, and their files not loaded."""
    app = _group("nas", "Train one supernet, search it for every device, ship quantized subnets.")
    app.info.epilog = (
        "Flags can also stand in a file (--config) or in the environment: NAS_SEARCH_TARGET is search --target. "
        "--code mypkg.module.build lets a run import that function, which builds its network."
    )
    app.info.context_settings = {"auto_envvar_prefix": "NAS"}
    app.callback()(_options)
    groups = {"": app} | {name: _group(name, text) for name, text in GROUPS.items()}
    for command, summary in COMMANDS.items():
        group, _, name = command.rpartition(" ")
        groups[group].command(name, short_help=summary)(_load(command) if only in (None, command) else _listed)
    for name in GROUPS:
        app.add_typer(groups[name])
    return app


def _group(name: str, text: str) -> typer.Typer:
    return typer.Typer(
        name=name,
        help=text,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # with it, help would load parsers of Markdown and of source code: half of its time
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nas {version('nas-supernet')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """What stands before the name of a command."""


def _load(command: str) -> Callable[..., None]:
    name = command.replace("-", "_").replace(" ", "_")
    function: Callable[..., None] = getattr(import_module(f"nas.cli.commands.{name}"), name)
    return function


def _listed() -> None:
    """In place of a command that isn't the one to run."""


def _command(arguments: list[str]) -> Any:
    """The commands, with the one that is named; help leaves out environment variables, which 80 columns cut off."""
    words = [word for word in arguments if not word.startswith("-")]
    named = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), "")
    completes = any(name.startswith("_NAS_COMPLETE") for name in os.environ)
    everything: Any = typer.main.get_command(make_app(None if completes and not named else named))
    commands = [everything]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            parameter.show_envvar = False
    running = everything
    for word in named.split():
        running = running.commands[word]
    speak_of(running.params)
    return everything


def _fail(error: Exception, debug: bool, text: str, code: int) -> None:
    if debug:
        raise error
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    with contextlib.suppress(BrokenPipeError):
        typer.echo("error: " if plain else typer.style("error: ", fg="red"), err=True, nl=False)
        print(presentable(text), file=sys.stderr, flush=True)
    _exit(code)


def _exit(code: int) -> None:
    failed = flush()
    if failed is not None and not code:
        code = EXIT_CUT if isinstance(failed, BrokenPipeError) else 1
        if code == 1:
            print(f"error: {explain(failed)}", file=sys.stderr, flush=True)
    raise SystemExit(code)
