"""Feed hostile variants of valid files to every parser of foreign files, and count what is refused.

    python -m tests.robustness.fuzz [--cases 10000] [--seed 0] [--run RUN] [--only N] [PARSER ...]

A case takes a valid file, changes it (:mod:`_fuzz_mutate`: cut, flipped bits, oversized headers, other JSON types, deep
nesting, huge numbers, NaN, doubled keys, pickles that would leave a mark, archive members outside of their folder,
invalid UTF-8; where a checksum guards a file, also with a right one) and calls what the product reads it with
(:mod:`_fuzz_parsers`). It may be accepted, or refused with an error that a user can fix. Everything else is a crash:
another exception, more memory than 4 GB above what is in use, more than 10 seconds of processor time, the end of the
process, a file outside of the folder. Cases are a function of (seed, parser, number): a crash is printed with its
number, and ``--only N`` runs it alone, with its traceback.

Cases run in processes that are forked once for many of them, so that a file that ends a process ends one case.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.robustness._fuzz_parsers import PARSERS, Case, Parser, Seeds

SECONDS = 10
_SILENCE = 12 * SECONDS  # of the clock: a case that waits for ever
_MEMORY = 4 * 2**30
ACCEPTED, REFUSED = "accepted", "refused"


class TooSlow(BaseException):
    """A case took more than :data:`SECONDS` of processor time."""


@dataclass
class Tally:
    """Outcomes of a parser's cases, crashes by number, and the slowest case in seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    crashes: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0


def outcome(parser: Parser, case: Case, rng: random.Random, folder: Path) -> str:
    """What becomes of one case: accepted, refused, or what went wrong."""
    before = sorted(p.name for p in folder.parent.iterdir())
    try:
        with _seconds(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case(rng)
        found = ACCEPTED
    except parser.refusals as error:
        text = str(error)
        found = REFUSED if text.strip() and len(text) < 4000 else f"a message of {len(text)} characters"
    except (Exception, TooSlow) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {str(error)[:150]!r} at {Path(place.filename).name}:{place.lineno}"
    if outside := sorted({p.name for p in folder.parent.iterdir()} - set(before)):
        for name in outside:
            (folder.parent / name).unlink()
        return f"wrote {outside} outside of its folder"
    return found


@contextlib.contextmanager
def _seconds(limit: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TooSlow(f"more than {limit} s")

    # processor time: what a case takes on the clock depends on what else the machine does
    previous = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def generator(seed: int, name: str, number: int) -> random.Random:
    """Of one case."""
    return random.Random(f"{seed} {name} {number}")


def fuzz(name: str, seeds: Seeds, folder: Path, cases: int, seed: int) -> Tally:
    """Run the cases of a parser; ``folder`` is theirs, and nothing may come to lie beside it."""
    tally, at = Tally(), 0
    while at < cases:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        case = PARSERS[name].prepare(seeds, folder)
        at = _forked(name, case, folder, range(at, cases), seed, tally)
    return tally


def _forked(name: str, case: Case, folder: Path, numbers: range, seed: int, tally: Tally) -> int:
    """Run cases in a process of their own until they or it end; the number to continue with."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _child(name, case, folder, numbers, seed, theirs)
    os.close(theirs)
    done = numbers.start
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        rest = b""
        while select.select([pipe], [], [], _SILENCE)[0] and (block := pipe.read(65536)):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                spent, _, text = line.decode("utf-8", "replace").partition(" ")
                tally.slowest = max(tally.slowest, float(spent))
                if text not in (ACCEPTED, REFUSED):
                    tally.crashes[done] = text
                    text = "crashes"
                tally.counts[text] += 1
                done += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if done < numbers.stop:
        tally.crashes[done] = f"the process ended ({status})" if status != -signal.SIGKILL else "no answer"
        tally.counts["crashes"] += 1
        done += 1
    return done


def _child(name: str, case: Case, folder: Path, numbers: range, seed: int, pipe: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        began = time.process_time()
        found = outcome(PARSERS[name], case, generator(seed, name, number), folder)
        line = f"{time.process_time() - began:.3f} {found}".replace("\n", " ")
        os.write(pipe, line.encode("utf-8", "replace") + b"\n")
    os._exit(0)


def make_seeds(root: Path) -> Path:
    """A small run: trained, searched and exported."""
    import subprocess

    from tests.robustness.kill_stress import NAS, write_photos

    photos, run = write_photos(root / "photos"), root / "run"
    train = ["train-supernet", "--data", str(photos), "--out", str(run), "--epochs", "1", "--workers", "0"]
    for command in (
        train, ["search", "--run", str(run), "--measurements", "4", "--compare", "none"],
        ["export", "--run", str(run), "--format", "onnx,litert,executorch"],
    ):  # fmt: skip
        subprocess.run([*NAS, *command, "--quiet"], check=True)
    return run


def main() -> None:
    """Run the parsers that are asked for, print the table, and exit with 1 where there is a crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"all, or of: {', '.join(PARSERS)}")
    parser.add_argument("--cases", type=int, default=10_000, help="for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="a finished run with exports, to make variants of; default: a new one")
    parser.add_argument("--only", type=int, help="one case of one parser, with its traceback")
    given = parser.parse_args()
    if unknown := set(given.parsers) - set(PARSERS):
        parser.error(f"no parser {sorted(unknown)}; there are: {', '.join(PARSERS)}")
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ.setdefault("NAS_CACHE", str(root / "cache"))
    run = given.run or make_seeds(root)
    seeds, inner = Seeds.of(run), root / "inner"
    inner.mkdir()
    os.chdir(inner)
    if given.only is not None:
        (name,), folder = given.parsers, inner / "case"
        folder.mkdir()
        case, began = PARSERS[name].prepare(seeds, folder), time.process_time()
        try:
            case(generator(given.seed, name, given.only))
        finally:
            print(f"{time.process_time() - began:.2f} s of processor time", file=sys.stderr)
        return
    console = Console()
    table = Table("parser", "cases", "refused", "accepted", "crashes", "slowest case", title=f"seed {given.seed}")
    failed = False
    for name in given.parsers or PARSERS:
        began = time.monotonic()
        tally = fuzz(name, seeds, inner / "case", given.cases, given.seed)
        shown = [f"{tally.counts[k]:,}" for k in (REFUSED, ACCEPTED, "crashes")]
        table.add_row(name, f"{tally.counts.total():,}", *shown, f"{tally.slowest:.2f} s")
        console.print(f"{name}: {', '.join(shown)}; {time.monotonic() - began:.0f} s", highlight=False)
        kinds = Counter(text for text in tally.crashes.values())
        for text, count in kinds.most_common(12):
            first = next(number for number, other in tally.crashes.items() if other == text)
            console.print(f"  CRASH x{count}, first --only {first}: {text}", markup=False, soft_wrap=True)
            failed = True
    console.print(table)
    shutil.rmtree(root)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
