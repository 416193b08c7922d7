"""Following documents in a copy of the source: what they write and edit first, then their commands.

- ``python`` and ``toml`` blocks whose first line is ``# path`` are files;
- ``diff`` blocks, likewise, are edits: lines that begin with ``+`` are added beside those that do not, ``-`` removed;
- ``bash`` blocks are commands, of ``nas``, ``python`` and ``cp``; they are run in this process.

Run as a script, in the copy: ``python -m tests.support.following DOCUMENT ...``; it ends with an error where a step
fails. Generic tests that a document names take long: run are those whose command has the text of ``KITS`` in it, an
environment variable; ``KITS=tests/`` runs all.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def follow(documents: Sequence[Path]) -> None:
    """Do what documents say, in the working directory."""
    commands = []
    for document in documents:
        for kind, text in BLOCK.findall(document.read_text()):
            first, _, rest = text.partition("\n")
            path = Path(first.removeprefix("# "))
            if kind == "bash":
                commands += text.splitlines()
            elif kind == "diff":
                path.write_text(edited(path.read_text(), rest))
            else:
                assert kind in ("python", "toml"), f"{document}: what is a block of {kind}?"
                assert not path.exists(), f"{document}: {path} is there already"
                path.write_text(text)
    for line in commands:
        run(line)


def edited(text: str, edits: str) -> str:
    """A file's text after a diff block's edits, each of which must fit in exactly one place."""
    for edit in edits.split("@@\n"):
        lines = edit.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert text.count(before) == 1, f"fits in {text.count(before)} places:\n{before}"
        text = text.replace(before, after)
    return text


def run(line: str) -> None:
    """One command."""
    print("$", line, flush=True)
    program, *words = [
        word for part in shlex.split(line) for word in (sorted(map(str, Path().glob(part))) if "*" in part else [part])
    ]
    code: object = 0
    if program == "cp":
        shutil.copy(*words)
    elif program == "nas":
        import cli

        sys.argv = ["nas", *words]
        try:
            cli.main()
        except SystemExit as ending:
            code = ending.code
    elif words[:2] == ["-m", "pytest"]:
        assert Path(words[2]).is_file(), words[2]
        if os.environ.get("KITS", "none") in line:
            import pytest

            code = pytest.main([*words[2:], "-p", "no:cacheprovider"])
    else:
        assert program == "python", f"no idea how to run: {line}"
        runpy.run_path(words[0], run_name="__main__")
    assert not code, f"exit code {code}: {line}"


if __name__ == "__main__":
    follow([Path(name) for name in sys.argv[1:]])
