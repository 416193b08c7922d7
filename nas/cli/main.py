"""The command line: its commands, and how they end. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import typer

from search_spaces.errors import UserError, presentable

from .commands.data_check import data_app
from .commands.doctor import doctor
from .commands.estimate import estimate
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.finetune import finetune
from .commands.profile import profile
from .commands.report import report
from .commands.runs import runs
from .commands.search import search
from .commands.spaces import spaces
from .commands.targets import targets
from .commands.train_supernet import train_supernet
from .messages import explain, refuse_empty, usage
from .options import EXIT_INTERRUPTED, command_line

app = typer.Typer(
    name="nas",
    help="Train one supernet, search it for every device, ship quantized subnets.",
    epilog="Flags can also stand in a file (--config) or in the environment: NAS_SEARCH_TARGET is search --target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with it, help would load parsers of Markdown and of source code: half of its time
    context_settings={"auto_envvar_prefix": "NAS"},
)

_BadUsage: type[Exception] = typer.BadParameter.mro()[1]  # click's UsageError, which newer typer carries inside


app.command("train-supernet", short_help="Train a once-for-all supernet; the same command resumes it.")(train_supernet)
app.command(short_help="Find the measured Pareto front for one target or several.")(search)
app.command(short_help="Write a subnet as a timm model and as files that run.")(export)
app.command(short_help="Train one subnet further; kept if that made it better.")(finetune)
app.command(short_help="Accuracy of an exported file, a candidate, an architecture.")(evaluate)
app.command(short_help="Latency, size, MACs and memory, without running anything.")(estimate)
app.command(short_help="Measure latencies, here or on a board: a target file.")(profile)
app.command()(spaces)
app.command()(targets)
app.command(short_help="Write what a run found as one HTML page that works offline.")(report)
app.command(short_help="List the runs and where they stand, newest first.")(runs)
app.command(short_help="Look at this machine: each problem with its fix.")(doctor)
app.add_typer(data_app)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 no feasible candidate, 130 interrupted."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        refuse_empty(arguments)
        code = _command()(arguments or ["--help"], prog_name="nas", standalone_mode=False, obj=main)
    except _BadUsage as error:
        _fail(error, debug, usage(error), 2)
    except UserError as error:
        _fail(error, debug, str(error), error.exit_code)
    except OSError as error:
        _fail(error, debug, explain(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:
        _fail(error, debug, f"unexpected {type(error).__name__}: {error}\nthis is a bug; --debug shows where", 1)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code, with nothing said
        typer.echo(f"stopped; what was done is saved. To resume: {command_line(['nas', *arguments])}", err=True)
    _exit(int(code or 0))


def _command() -> Any:
    """The commands; help leaves out the names of environment variables, which 80 columns cut off in the middle."""
    found: list[Any] = [typer.main.get_command(app)]
    for command in found:
        found += getattr(command, "commands", {}).values()
        for parameter in command.params:
            parameter.show_envvar = False
    return found[0]


def _fail(error: Exception, debug: bool, text: str, code: int) -> None:
    if debug:
        raise error
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    typer.echo("error: " if plain else typer.style("error: ", fg="red"), err=True, nl=False)
    typer.echo(presentable(text), err=True)
    _exit(code)


def _exit(code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    raise SystemExit(code)
