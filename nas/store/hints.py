"""Commands that a message or a result suggests as the next step."""

from __future__ import annotations

import shlex

from search_spaces.builders.typed_code import PREFIX, typed

_OPEN_RUNS = ("estimate", "evaluate", "export", "finetune", "profile", "report", "search", "spaces")
"""Commands that may build the networks of a run."""


def hint(command: str, *arguments: object, **settings: object) -> str:
    """The line to type, whatever its values hold: ``hint("search", run=path)`` is ``nas search --run PATH``.

    Settings that are None or False are left out; one that is True has no value. Where a run may be of a model of one's
    own, the functions that were typed are named again: no command imports one that it isn't told.
    """
    words = ["nas", *command.split(), *map(str, arguments)]
    for name, value in settings.items():
        if value is not None and value is not False:
            words += [_flag(name)] + ([] if value is True else [str(value)])
    if (command in _OPEN_RUNS or "config" in settings) and not any(word.startswith(PREFIX) for word in words):
        words += [word for name in typed() for word in (_flag("code"), name)]
    return shlex.join(words)


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"
