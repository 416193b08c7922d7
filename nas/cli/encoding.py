"""Text for any terminal, file or pipe: what its encoding lacks is written in ASCII, and never ends a command.

A redirected output on Windows is cp1252 or cp932, and some machines have ASCII. A character that cannot be written
there becomes its likeness where there is one, as of the lines of tables, and else the escape by which TOML and Python
read that character. JSON is ASCII anyway.
"""

from __future__ import annotations

import codecs
import io
import os
import sys

_OF_LIKE = {"-": "─━═╸╺╴╶", "|": "│┃║╷╵", "+-": "±", "u": "\u00b5\u03bc", "...": "…"}
LIKENESSES = {character: like for like, characters in _OF_LIKE.items() for character in characters}
"""Characters that tables and messages have -> what stands for them in ASCII."""
_NAME = "nas.readable"


def readable(error: UnicodeError) -> tuple[str, int]:
    """What stands for what an encoding lacks, as an error handler of :mod:`codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    return LIKENESSES.get(character) or escape(character)


def escape(character: str) -> str:
    """A character as TOML and Python escape it."""
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


codecs.register_error(_NAME, readable)


def write_anything() -> None:
    """From now on, what is printed is written in any encoding of stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def flush() -> OSError | None:
    """Write what is still to be written. What cannot be is dropped, and the error returned: a BrokenPipeError where the
    reader has gone, as ``head`` does."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            failed = failed or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return failed
