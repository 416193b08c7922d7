"""How long commands take that only show something, and how much memory those take that work.

    python -m benchmarks.commands.cold_start [--times 15] [--memory]

Each command is a process of its own, and the commands take turns, so that the machine's states fall on all alike. The
median of the wall-clock time and of the processor time (what the time would be on a machine that does nothing else)
stand beside those of ``python -c pass``, and beside the wishes: 0.3 s for ``nas --help``, 0.5 s for ``nas targets``.

``--memory``: peak of the resident memory of the demo's commands, their loading processes included. A training of a
few steps has the peak of a long one: checkpoints, evaluations and batches are those of the demo.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

_NAS = "import sys; sys.argv[0] = 'nas'; import cli; cli.main()"
SHOWN: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": (["-c", "pass"], None),
    "nas --help": (["-c", _NAS, "--help"], 0.3),
    "nas targets": (["-c", _NAS, "targets"], 0.5),
    "nas spaces": (["-c", _NAS, "spaces"], None),
    "nas runs": (["-c", _NAS, "runs"], None),
}
"""What is shown -> arguments of Python, and the wish in seconds."""


@dataclass(frozen=True)
class Spent:
    """Wall-clock and processor seconds of a process, and its resident memory at the peak in bytes."""

    wall: float
    cpu: float
    peak: int


def run(words: list[str]) -> Spent:
    """Run Python with these arguments to its end; exits where it fails."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    reader.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{words} failed:\n{said[0].decode()}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def cold(times: int, console: Console) -> None:
    """Print the table of commands that show something."""
    spent: dict[str, list[Spent]] = {name: [] for name in SHOWN}
    for turn in range(times + 1):
        for name, (words, _) in SHOWN.items():
            found = run(words)
            if turn:  # the first of each fills the caches of the disk and of compiled files
                spent[name].append(found)
    table = Table("command", "wall s", "processor s", "quickest", "wish", title=f"medians of {times} processes")
    for name, (_, wish) in SHOWN.items():
        walls, cpus = [s.wall for s in spent[name]], [s.cpu for s in spent[name]]
        figures = [f"{v:.2f}" for v in (statistics.median(walls), statistics.median(cpus), min(walls))]
        table.add_row(name, *figures, "" if wish is None else f"{wish:.1f}")
    console.print(table)


def memory(console: Console) -> None:
    """Print the peaks of the demo's commands."""
    folder = tempfile.mkdtemp(prefix="cold-start-")
    out = str(Path(folder) / "run")
    commands = {
        "nas train-supernet": ["train-supernet", "--out", out, "--epochs", "0.3", "--quiet"],
        "nas search": ["search", "--run", out, "--measurements", "8", "--quiet"],
        "nas export": ["export", "--run", out, "--quiet"],
        "nas export --format executorch": ["export", "--run", out, "--format", "executorch", "--quiet"],
        "nas report": ["report", out],
    }
    for name, words in commands.items():
        spent = run(["-c", _NAS, *words])
        console.print(f"{name}: {spent.peak / 1e6:.0f} MB, {spent.cpu:.0f} s of processor time", highlight=False)
    shutil.rmtree(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    console = Console()
    memory(console) if given.memory else cold(given.times, console)


if __name__ == "__main__":
    main()
