"""How results look in a terminal. Progress and messages go to stderr, results to stdout.

In a terminal, lines are broken between words and tables fit its width where they can. In a pipe every line is whole,
without colours or control characters, and progress is a line now and then.
"""

from __future__ import annotations

import textwrap

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .messages import with_flags

OUT = Console(markup=False)  # names of files and classes may hold what rich takes for markup
ERR = Console(stderr=True, markup=False)
_UNBOUNDED = 10_000  # columns


def say(text: str, bold: int = 0) -> None:
    """Lines on stdout, for people; ``bold``: so many characters at the beginning."""
    if OUT.is_terminal:
        text = "\n".join(map(_broken, text.splitlines()))
    styled = Text(text)
    styled.stylize("bold", 0, bold)
    OUT.print(styled, highlight=False, soft_wrap=True)


def _broken(line: str) -> str:
    """A line in the terminal's width; what is broken off stands two columns further to the right."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, max(OUT.width, 40), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def tell(text: str, console: Console = OUT) -> None:
    """A line that stays whole, so that what it names can be copied."""
    console.print(text, highlight=False, soft_wrap=True)


def new_table(*columns: str, title: str | None = None) -> Table:
    """The one look of tables; ``columns``: headings of those on the left."""
    return Table(*columns, title=title, box=box.SIMPLE_HEAD)


def show(table: Table) -> None:
    """A table on stdout, wider than the terminal rather than with cells cut off, and never narrowed in a pipe."""
    needed = OUT.measure(table, options=OUT.options.update(width=_UNBOUNDED))
    width = max(OUT.width, needed.minimum if OUT.is_terminal else needed.maximum)
    Console(width=width, markup=False).print(table)


def warn(text: str) -> None:
    ERR.print(Text.assemble(("warning:", "yellow"), f" {with_flags(text)}"), highlight=False, soft_wrap=True)


def following(command: str) -> None:
    """The command that a user would type next."""
    tell(f"next: {command}", ERR)


def percent(value: float, low: float, high: float) -> str:
    """An accuracy with half the width of its 95 % interval; shares of one."""
    return f"{100 * value:.2f} ± {50 * (high - low):.2f}"
