"""Disturb runs from outside on purpose, and check that no result is lost.

    python -m tests.robustness.faults [--times 5] [--seed 0] [--keep FOLDER] [FAULT ...]

Every fault strikes runs of a tiny space; the same commands in an undisturbed run show what the results must be.

* ``kill`` and ``kill-later``: SIGKILL at random moments of train-supernet and search (by ``kill_stress.py``, with few
  kills), and of finetune and export, then the same command again, until it ends by itself;
* ``disk``: the disk is full at random moments: a tmpfs with room for a part of what the command writes. The command
  must end with a one-line error and code 1; with more room, the same command gives the undisturbed result;
* ``read-only``: the run lies on a file system that is mounted read-only: a one-line error, code 1, and no change;
* ``clock``: the clock that processes see jumps by up to ten years, back and forth, while they work and between them;
* ``two``: a second command on a run in use gets a one-line error and code 1, and the first is not affected;
* ``worker``: one of two workers on a database is killed while it measures; the other takes over its claim.

*Lost* counts checkpoints, measurements, weights and files that existed before a fault and not after it, or that differ
from those of the undisturbed run in the end. Prints a table, and exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.robustness.kill_stress import (
    NAS,
    Tally,
    disturbed,
    start,
    stress_search,
    stress_training,
    undisturbed,
    window,
    write_photos,
)

COMMANDS = ("train", "search", "finetune", "export")
TARGET = "cortex-a72"
TRAIN = ("train-supernet", "--batch-size", "16", "--workers", "0", "--save-seconds", "0")
SEARCH = ("search", "--target", TARGET, "--measurements", "6", "--compare", "none")
_FAKETIME = ("/usr/lib/*/faketime", "libfaketimeMT.so.1")
_TEN_YEARS = 3e8


class Impossible(Exception):
    """A fault cannot be made on this machine; the message says why."""


@dataclass
class Outcome:
    """What one kind of fault did.

    Attributes:
        times: number of times that it struck.
        recovered: number of times that the work continued to the right end after it.
        lost: what was missing, or differed from the undisturbed run, a line each.
    """

    times: int = 0
    recovered: int = 0
    lost: list[str] = field(default_factory=list)

    def strike(self, problems: list[str]) -> None:
        """Count a fault, with what went wrong after it."""
        self.times += 1
        self.recovered += not problems
        self.lost += problems


@dataclass(frozen=True)
class Bench:
    """A folder for runs, and the undisturbed run: trained, searched, fine-tuned and exported."""

    root: Path
    photos: Path
    whole: Path
    rng: random.Random

    def words(self, command: str, run: Path) -> list[str]:
        """A command on a run."""
        flags = {
            "train": [*TRAIN, "--data", str(self.photos), "--out", str(run), "--epochs", "3"],
            "search": [*SEARCH, "--run", str(run)],
            "finetune": ["finetune", "fastest", "--run", str(run), "--epochs", "2", "--workers", "0"],
            "export": ["export", "--run", str(run)],
        }  # fmt: skip
        return [*flags[command], "--quiet"]

    def before(self, command: str, to: Path) -> Path:
        """Copy the undisturbed run as it was before a command."""
        gone = {
            "train": ("*",),
            "search": ("journal*", "search-*", "predictor-*", "finetune", "export"),
            "finetune": ("finetune", "export"),
            "export": ("export",),
        }  # fmt: skip
        if command == "train":
            to.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copytree(self.whole, to, ignore=shutil.ignore_patterns(".*", *gone[command]), dirs_exist_ok=True)
        return to

    def differences(self, command: str, run: Path) -> list[str]:
        """The files that a command made in ``run`` and that differ from those of the undisturbed run."""
        made = {
            "train": ["supernet.safetensors", "checkpoint.safetensors"],
            "search": [f"search-{TARGET}.json", f"predictor-{TARGET}.safetensors"],
            "finetune": [str(p.relative_to(self.whole)) for p in self.whole.glob("finetune/*/supernet.safetensors")],
            "export": [str(p.relative_to(self.whole)) for p in self.whole.glob("export/*-int8/*") if p.suffix != ".md"],
        }[command]
        problems = [f"{run}: {name} is missing" for name in made if not (run / name).exists()]
        problems += [
            f"{run}: {name} differs"
            for name in made
            if (run / name).exists() and _comparable(run / name) != _comparable(self.whole / name)
        ]
        return problems + [f"{run}: {p.name} is left" for p in run.rglob(".*.tmp")]


def _comparable(path: Path) -> bytes:
    """The content that must be equal: headers of tensor files hold where the run lies and how long it took."""
    data = path.read_bytes()
    if path.suffix == ".safetensors" and not path.name.startswith("predictor"):
        length = int.from_bytes(data[:8], "little")
        return data[8 + length :]
    return data


def prepare(root: Path, rng: random.Random) -> Bench:
    """Make the undisturbed run."""
    photos = root / "photos"
    if not photos.exists():
        write_photos(photos)
    bench = Bench(root, photos, root / "whole", rng)
    last = {"train": "supernet.safetensors", "search": f"search-{TARGET}.json",
            "finetune": "export/*-int8-*/README.md", "export": "export/*-int8/README.md"}  # fmt: skip
    for command, made in last.items():
        if not any(bench.whole.glob(made)):  # a folder that was kept may hold it
            code, message = execute(bench.words(command, bench.whole))
            if code:
                sys.exit(f"{command} failed:\n{message}")
    return bench


def execute(words: list[str], prefix: list[str] | None = None) -> tuple[int, str]:
    """Exit code and messages of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*(prefix or NAS), *words], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr


def one_line(code: int, message: str, *words: str) -> list[str]:
    """What is wrong with an error of a command; an empty list if nothing is."""
    lines = [line for line in message.strip().splitlines() if line]
    fine = code == 1 and 1 <= len(lines) <= 2 and lines[0].startswith("error: ") and any(w in message for w in words)
    return [] if fine and "this is a bug" not in message else [f"code {code}: {message[-300:]}"]


def files(folder: Path) -> dict[str, bytes]:
    """Every file, except locks and their owners."""
    paths = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and p.suffix != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def kill(bench: Bench, times: int) -> dict[str, Outcome]:
    """SIGKILL at random moments of training and searching."""
    outcomes = {}
    plain = ["--epochs", "12", "--save-seconds", "0.5"]
    tally = stress_training(bench.root, "trained", plain, times, bench.rng)
    outcomes["kill -9 in train-supernet"] = _outcome_of(tally)
    tally = stress_search(bench.root, bench.root / "trained", 8, times, bench.rng)
    outcomes["kill -9 in search"] = _outcome_of(tally)
    return outcomes


def kill_later(bench: Bench, times: int) -> dict[str, Outcome]:
    """SIGKILL at random moments of fine-tuning and exporting."""
    outcomes = {}
    for command, made in (("finetune", "finetune/*/checkpoint.safetensors"), ("export", "export/*/model.safetensors")):
        outcomes[f"kill -9 in {command}"] = _outcome_of(_stress(bench, command, made, times))
    return outcomes


def _outcome_of(tally: Tally) -> Outcome:
    return Outcome(tally.kills, tally.kills - min(tally.kills, len(tally.failures)), tally.failures)


def _stress(bench: Bench, command: str, made: str, times: int) -> Tally:
    tally, log = Tally(), bench.root / f"{command}.log"
    first = bench.before(command, bench.root / f"{command}-first")
    saved, seconds = undisturbed(bench.words(command, first), lambda: any(first.glob(made)), log)
    while tally.kills < times:
        run = bench.before(command, bench.root / f"{command}-{tally.rounds}")
        earned = files(run)

        def after(run: Path = run, earned: dict[str, bytes] = earned) -> bool:
            now = files(run)
            for name, data in earned.items():
                whole = now.get(name, b"").startswith(data) if name.startswith("journal") else now.get(name) == data
                tally.expect(whole, f"{run}: {name} was lost")
            return any(run.glob(made))

        left = times - tally.kills
        disturbed(bench.words(command, run), window(saved, seconds, left), left, after, log, tally, bench.rng)
        tally.rounds += 1
        tally.failures += bench.differences(command, run)
    return tally


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs; gives a function that mounts it again with other options."""
    place.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            raise Impossible(f"no right to mount a tmpfs: {done.stderr.decode().strip()}")

    mount(f"size={kilobytes}k")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def full_disk(bench: Bench, times: int, commands: Sequence[str] = COMMANDS) -> dict[str, Outcome]:
    """A disk with room for a part of what a command writes, then for all of it."""
    outcomes = {}
    for command in commands:
        outcome = outcomes[f"full disk in {command}"] = Outcome()
        needs = _kilobytes(bench.whole) - _kilobytes(bench.before(command, bench.root / f"size-{command}"))
        for number in range(times):
            place = bench.root / f"full-{command}-{number}"
            held = _kilobytes(bench.root / f"size-{command}")
            room = bench.rng.uniform(0.05, 0.6) * (10 if command == "search" else needs)
            with disk(place, int(held + 8 + room)) as again:
                run = bench.before(command, place / "run")
                earned = files(run)
                code, message = execute(bench.words(command, run))
                problems = one_line(code, message, "disk is full", "No space left") if code else []
                now = files(run)
                problems += [f"{run}: {n} was lost" for n, d in earned.items() if not now.get(n, b"").startswith(d)]
                again("size=200m")
                code, message = execute(bench.words(command, run))
                problems += [f"code {code}: {message[-300:]}"] if code else bench.differences(command, run)
            outcome.strike(problems)
    return outcomes


def _kilobytes(folder: Path) -> int:
    return sum(-(-p.stat().st_size // 4096) * 4 for p in folder.rglob("*") if p.is_file())


def read_only(bench: Bench, times: int, commands: Sequence[str] = COMMANDS) -> dict[str, Outcome]:
    """A file system that is mounted read-only, then writable again."""
    outcomes = {}
    for command in commands:
        outcome = outcomes[f"read-only folder, {command}"] = Outcome()
        place = bench.root / f"ro-{command}"
        with disk(place, 200_000) as again:
            run = bench.before(command, place / "run")
            earned = files(run)
            again("ro")
            problems = one_line(*execute(bench.words(command, run)), "Read-only file system")
            problems += [] if files(run) == earned else [f"{run} was changed"]
            again("rw")
            code, message = execute(bench.words(command, run))
            problems += [f"code {code}: {message[-300:]}"] if code else bench.differences(command, run)
        outcome.strike(problems)
    return outcomes


def clock(bench: Bench, times: int) -> dict[str, Outcome]:
    """Clocks that jump while a command works; each command is killed once on the way."""
    library = next(Path("/").glob(f"{_FAKETIME[0].lstrip('/')}/{_FAKETIME[1]}"), None)
    if library is None:
        raise Impossible("libfaketime is not installed")
    outcomes, moment = {}, bench.root / "moment"
    for command in ("train", "search"):
        outcome = outcomes[f"clock jumps in {command}"] = Outcome()
        for number in range(times):
            run = bench.before(command, bench.root / f"clock-{command}-{number}")
            words, problems = bench.words(command, run), []
            for attempt in range(2):
                # monotonic clocks do not jump when somebody sets the time
                moving = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(moment), "FAKETIME_NO_CACHE": "1",
                          "FAKETIME_DONT_FAKE_MONOTONIC": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
                process = subprocess.Popen(
                    [*NAS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    env={**os.environ, **moving},
                )  # fmt: skip
                until = time.monotonic() + (bench.rng.uniform(5, 15) if attempt == 0 else 600)
                while process.poll() is None and time.monotonic() < until:
                    moment.write_text(f"{bench.rng.uniform(-_TEN_YEARS, _TEN_YEARS):+.0f}s")
                    outcome.times += 1
                    time.sleep(bench.rng.uniform(0.05, 0.5))
                process.kill()
                message = process.communicate()[1]
                problems = [] if attempt == 0 else [f"code {process.returncode}: {message[-300:]}"]
            problems = problems if process.returncode else bench.differences(command, run)
            outcome.lost += problems
            outcome.recovered = outcome.times if not outcome.lost else 0
    return outcomes


def two(bench: Bench, times: int) -> dict[str, Outcome]:
    """Commands on a run that is being trained, and on a run whose candidate is being fine-tuned."""
    outcome = Outcome()
    for command, more in (("train", ("train", "search")), ("finetune", ("search", "finetune", "export"))):
        run, log = bench.before(command, bench.root / f"two-{command}"), bench.root / f"two-{command}.log"
        first = start([*bench.words(command, run), "--epochs", "3000"], log)
        try:
            while not (any(run.rglob("checkpoint.good*")) and (run / ".owner").exists()) and first.poll() is None:
                time.sleep(0.05)
            for second in more * times:
                words = [*bench.words(second, run), *(["--epochs", "3000"] if second == "train" else [])]
                outcome.strike(one_line(*execute(words), "in use by another nas process"))
            if first.poll() is not None:
                outcome.lost.append(f"the first process ended: {log.read_text()[-300:]}")
        finally:
            if first.poll() is None:
                os.killpg(first.pid, signal.SIGINT)
            first.wait()
    return {"a second command on one run": outcome}


def worker(bench: Bench, times: int) -> dict[str, Outcome]:
    """A worker that is killed while it measures."""
    import sqlite3

    outcome = Outcome()
    for number in range(times):
        run, log = bench.before("search", bench.root / f"worker-{number}"), bench.root / f"worker-{number}.log"
        base = bench.root / f"worker-{number}.db"
        words = [*bench.words("search", run), "--storage", f"sqlite:///{base}"]

        def claimed(base: Path = base) -> bool:
            """Whether a candidate is being measured at this moment."""
            if not base.exists():
                return False
            try:
                with sqlite3.connect(f"file:{base}?mode=ro", uri=True) as opened:
                    return bool(opened.execute("select count(*) from trials where state = 'RUNNING'").fetchone()[0])
            except sqlite3.OperationalError:
                return False

        lost = start(words, log)
        while not claimed() and lost.poll() is None:
            time.sleep(0.005)
        struck = lost.poll() is None
        os.killpg(lost.pid, signal.SIGKILL)
        lost.wait()
        held = claimed()
        code, message = execute(words)
        problems = [f"code {code}: {message[-300:]}"] if code else bench.differences("search", run)
        if struck and held:
            outcome.strike(problems)
        else:  # it was between two measurements
            outcome.lost += problems
    return {"a lost worker, its claim held": outcome}


FAULTS = {
    "kill": kill, "kill-later": kill_later, "disk": full_disk, "read-only": read_only, "clock": clock, "two": two,
    "worker": worker,
}  # fmt: skip


def main() -> None:
    """Run the faults that are asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"all, or of: {', '.join(FAULTS)}")
    parser.add_argument("--times", type=int, default=5, help="number of times that each fault strikes each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which is then kept")
    given = parser.parse_args()
    if unknown := set(given.faults) - set(FAULTS):
        parser.error(f"no fault {sorted(unknown)}; there are: {', '.join(FAULTS)}")
    root = given.keep or Path(tempfile.mkdtemp(prefix="faults-"))
    root.mkdir(parents=True, exist_ok=True)
    bench, console = prepare(root, random.Random(given.seed)), Console()
    table = Table("fault", "times", "recovered", "lost", "seconds", title=f"seed {given.seed}")
    lost = []
    for name in given.faults or FAULTS:
        began = time.monotonic()
        try:
            outcomes = FAULTS[name](bench, given.times)
        except Impossible as error:
            console.print(f"{name}: left out: {error}", markup=False)
            continue
        spent = time.monotonic() - began
        for what, outcome in outcomes.items():
            shown = [str(n) for n in (outcome.times, outcome.recovered, len(outcome.lost))]
            table.add_row(what, *shown, f"{spent / len(outcomes):.0f}")
            console.print(f"{what}: {json.dumps(shown)}", highlight=False)
            lost += [f"{what}: {line}" for line in outcome.lost]
    console.print(table)
    for line in lost:
        console.print(f"LOST {line}", markup=False, soft_wrap=True)
    if not given.keep and not lost:
        shutil.rmtree(root)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
