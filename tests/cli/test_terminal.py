"""What commands look like in a terminal of 80 columns, and that a pipe gets whole lines without control characters."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from nas.cli.console import new_table, show
from nas.cli.progress import Display
from nas.events import Measured
from tests.support.cli_runs import invoke

_SCRIPT = """
import sys, cli
for words in (["targets"], ["spaces"], ["runs"], ["spaces", "nothing"]):
    sys.argv = ["nas", *words]
    try:
        cli.main()
    except SystemExit as ending:
        print("exit", ending.code, flush=True)
"""


def in_terminal(columns: int, **env: str) -> str:
    """What several commands print in a terminal, on both streams."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT], stdin=slave, stdout=slave, stderr=slave, env=kept | env
    ) as process:
        os.close(slave)
        found = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            found += part
    os.close(master)
    assert process.returncode == 0
    return found.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}], ids=["no colour", "dumb"])
def test_eighty_columns_without_colour(empty: Path, env: dict[str, str]) -> None:
    found = in_terminal(80, **env)
    if "NO_COLOR" in env:
        found = found.replace("\x1b[1m", "").replace("\x1b[0m", "")  # bold is no colour
    assert "\x1b" not in found
    (error,) = [line for line in found.splitlines() if line.startswith("error: ")]  # whole, to be searched for
    assert "unknown search space 'nothing'" in error
    assert max(len(line) for line in found.splitlines() if line != error) <= 80
    words = " ".join(found.split())
    for name in ("mbv3-tiny", "1653 networks without depthwise convolutions", "exit 0", "exit 2"):
        assert name in words


def test_colours_where_they_are_wanted(empty: Path) -> None:
    assert "\x1b[31merror" in in_terminal(80, TERM="xterm-256color")


def test_a_pipe_gets_whole_lines(empty: Path) -> None:
    for words in (["targets"], ["spaces"], ["spaces", "mbv3-tiny"], ["targets", "cortex-m7"]):
        found = invoke(*words)
        assert "\x1b" not in found.out + found.err
        assert "\r" not in found.out + found.err
    lines = invoke("targets", "cortex-m7").out.splitlines()
    (source,) = [line for line in lines if line.startswith("source: ")]
    assert source.endswith("proxyless-w0.3-r64")
    assert any("searches the same space" in line for line in invoke("spaces").out.splitlines())


def test_tables_are_wider_than_the_screen_rather_than_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("name")
    for number in range(20):
        table.add_column(f"column {number}", no_wrap=True)
    table.add_row("x", *(f"value {number}" for number in range(20)))
    show(table)
    heading, _, row = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert heading.split() == ["name", *(word for n in range(20) for word in ("column", str(n)))]
    assert row.split() == ["x", *(word for n in range(20) for word in ("value", str(n)))]


def test_a_search_in_a_pipe_tells_where_it_is_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with Display(quiet) as progress:
            for done in range(1, 11):
                progress(Measured("search", done, 10, 0.5))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"measuring {done}/10: last 50.0 %" for done in (3, 6, 9)]
