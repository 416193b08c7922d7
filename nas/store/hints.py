"""Commands that a message or a result suggests as the next step."""

from __future__ import annotations

import shlex


def hint(command: str, *arguments: object, **settings: object) -> str:
    """The line to type, whatever its values hold: ``hint("search", run=path)`` is ``nas search --run PATH``.

    Settings that are None or False are left out; one that is True has no value.
    """
    words = ["nas", *command.split(), *map(str, arguments)]
    for name, value in settings.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return shlex.join(words)
