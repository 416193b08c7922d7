"""Commands that a message or a result suggests as the next step."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from os import PathLike


@dataclass(frozen=True)
class Hint:
    """A command of ``nas`` to type next; as text it is the line to type, whatever its values hold.

    Attributes:
        arguments: what it is given without a name.
        settings: name -> value; None and False: left out, True: given without a value.
    """

    command: str
    arguments: tuple[object, ...] = ()
    settings: tuple[tuple[str, object], ...] = ()

    def to_json(self) -> str:
        """The line to type."""
        return str(self)

    def __str__(self) -> str:
        words = ["nas", *self.command.split(), *map(str, self.arguments)]
        for name, value in self.settings:
            if value is not None and value is not False:
                words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        return shlex.join(words)


def hint(command: str, *arguments: object, **settings: str | int | float | bool | PathLike[str] | None) -> Hint:
    """``hint("search", run=path)`` is ``nas search --run PATH``."""
    return Hint(command, arguments, tuple(settings.items()))
