"""Kill training and search at random moments, again and again, and compare with runs that were left alone.

    python -m tests.robustness.kill_stress [--kills 20] [--each 3] [--seed 0] [--measurements 10] [--keep FOLDER]

Each job (training; training with every strategy, a weight average and bf16; search) runs once undisturbed. Then the
same command runs in another directory, is ended with SIGKILL, half of the time together with its data loading
processes, and is started again, until ``--kills`` kills have struck and the job ends by itself. The moments are drawn
uniformly from the time between most of the start-up and two average shares of the work later; the range grows where
kills strike before anything new is saved. A job that ends before all kills have struck is checked, and starts again in
a new directory. The program checks:

* training: the weights of the supernet equal those of the undisturbed run bit for bit, and so does ``metrics.jsonl``
  except for the estimated time left;
* search: no measurement that a killed process had recorded is lost, nothing is recorded twice, and the result (front,
  baseline, predictor, counts) is that of the undisturbed search.

Three kills per strategy and twenty of the others take about half an hour on two cores.

Prints a table, and exits with 1 if a check fails.
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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from nas.training.strategies.table import STRATEGIES

TARGET = "cortex-a72"
NAS = [sys.executable, "-u", "-c", "import cli; cli.main()"]


def write_photos(folder: Path) -> Path:
    """Three classes of small noisy images, 260 in all."""
    rng = np.random.default_rng(0)
    for label, colour in enumerate(((120, 90, 80), (90, 120, 90), (80, 90, 120))):
        (folder / f"class{label}").mkdir(parents=True)
        for i in range(87):
            pixels = np.clip(rng.normal(colour, 60, (28, 28, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{i:03d}.png")
    return folder


@dataclass
class Tally:
    """What happened to the processes of a job.

    Attributes:
        kills: number of processes that were killed while they ran.
        rounds: number of times that the job ran to its end.
        remains: what the kills left behind, counted by kind.
        failures: the checks that failed, a line each.
    """

    kills: int = 0
    rounds: int = 0
    remains: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def expect(self, holds: bool, text: str) -> None:
        """Note a failure where a check doesn't hold."""
        if not holds:
            self.failures.append(text)


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A command in a process group of its own; its messages are added to ``log``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "ab") as file:
        return subprocess.Popen([*NAS, *words], stdout=file, stderr=file, env=environment, start_new_session=True)


def undisturbed(words: list[str], begun: Callable[[], bool], log: Path) -> tuple[float, float]:
    """Run a command to its end. Returns the seconds until something was saved, and the seconds in all."""
    began = time.monotonic()
    process, saved = start(words, log), 0.0
    while process.poll() is None:
        saved = saved or (time.monotonic() - began if begun() else 0.0)
        time.sleep(0.01)
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{log.read_text()}")
    return saved, time.monotonic() - began


def disturbed(words: list[str], window: tuple[float, float], kills: int, after: Callable[[], bool], log: Path,
              tally: Tally, rng: random.Random) -> None:  # fmt: skip
    """Run a command until it ends by itself, and kill it up to ``kills`` times before. ``after`` checks what is left
    and returns whether there was progress."""
    low, high = window
    before = tally.kills
    while True:
        process = start(words, log)
        try:
            if tally.kills - before < kills:
                process.wait(timeout=rng.uniform(low, high))
            else:
                process.wait(timeout=600)
        except subprocess.TimeoutExpired:
            if tally.kills - before >= kills:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            alone = rng.random() < 0.5
            process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            tally.kills += 1
            tally.remains["main process alone" if alone else "whole group"] += 1
            high = max(low + 0.3, high * (0.9 if after() else 1.15))
            continue
        tally.expect(process.returncode == 0, f"exit code {process.returncode}: {log.read_text()[-600:]}")
        return


def window(saved: float, seconds: float, kills: int) -> tuple[float, float]:
    """Seconds after which a command may be killed: from most of its start-up to two average shares of its work."""
    return 0.8 * saved, saved + max(0.3, 2.0 * (seconds - saved) / max(1, kills))


def metrics(run: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` without the estimated time left."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "eta_s"} for line in lines]


def saved_step(run: Path) -> int:
    """Step of the newest checkpoint, read without the code under test; -1 if there is none."""
    for name in ("checkpoint.new", "checkpoint"):
        path = run / f"{name}.safetensors"
        if path.exists():
            content = path.read_bytes()
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return int(json.loads(header["__metadata__"]["nas"])["metadata"]["step"])
    return -1


def stress_training(root: Path, name: str, flags: list[str], kills: int, rng: random.Random) -> Tally:
    """Kill ``train-supernet``; ``root/name`` is the undisturbed run."""
    straight, log, tally = root / name, root / f"{name}.log", Tally()
    words = ["train-supernet", "--data", str(root / "photos"), "--batch-size", "16", "--workers", "1", *flags]
    saved, seconds = undisturbed(
        [*words, "--out", str(straight)], (straight / "checkpoint.safetensors").exists, log
    )  # fmt: skip
    while tally.kills < kills:
        run = root / f"{name}-{tally.rounds}"
        steps = [-1]

        def after(run: Path = run, steps: list[int] = steps) -> bool:
            steps.append(saved_step(run))
            tally.expect(steps[-1] >= steps[-2], f"{run}: the checkpoint went back from {steps[-2]} to {steps[-1]}")
            tally.remains["before any checkpoint"] += steps[-1] < 0
            tally.remains["no progress since the last kill"] += steps[-1] == steps[-2]
            tally.remains["half-written file left"] += any(run.glob(".*.tmp"))
            tally.remains["checkpoint not renamed yet"] += (run / "checkpoint.new.safetensors").exists()
            tally.remains["metrics ahead of the checkpoint"] += _ahead(run, steps[-1])
            tally.remains["all steps done, not finished"] += (run / "supernet.safetensors").exists()
            return steps[-1] > steps[-2]

        left = kills - tally.kills
        disturbed([*words, "--out", str(run)], window(saved, seconds, left), left, after, log, tally, rng)
        tally.rounds += 1
        ours, theirs = (load_file(r / "supernet.safetensors") for r in (run, straight))
        same = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in theirs)
        tally.expect(same, f"{run}: other weights")
        facts = [json.loads((r / "run.json").read_text()) for r in (run, straight)]
        tally.expect(facts[0] == facts[1], f"{run}: other run.json")
        tally.expect(metrics(run) == metrics(straight), f"{run}: other metrics.jsonl")
        tally.expect(not any(run.glob(".*.tmp")), f"{run}: a temporary file is left")
    return tally


def _ahead(run: Path, saved: int) -> bool:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return any(json.loads(line)["step"] > saved for line in lines if line.endswith("}"))


def measured(run: Path) -> list[tuple[str, int]]:
    """(what was measured, correct answers) of all whole lines of a journal, read without the code under test.

    What was measured is an architecture, on the search split or, as a member of the front, on the test split.
    """
    path = run / "journal.log"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    attributes = [json.loads(line).get("user_attrs") or {} for line in whole]
    return [(f"{a['architecture']} {a['origin'] == 'front'}", a["correct"]) for a in attributes if "architecture" in a]


def stress_search(
    root: Path, trained: Path, measurements: int, kills: int, rng: random.Random, flags: Sequence[str] = ()
) -> Tally:
    """Kill ``search`` on copies of a trained run."""
    log, tally = root / "search.log", Tally()
    words = ["search", "--target", TARGET, "--measurements", str(measurements), *flags, "--run"]
    straight = _copy(trained, root / "search")
    saved, seconds = undisturbed([*words, str(straight)], lambda: bool(measured(straight)), log)
    while tally.kills < kills:
        run = _copy(trained, root / f"search-{tally.rounds}")
        seen: list[tuple[str, int]] = []

        def check(run: Path = run, seen: list[tuple[str, int]] = seen) -> bool:
            now = measured(run)
            tally.expect(now[: len(seen)] == seen, f"{run}: a measurement was lost")
            tally.expect(len({a for a, _ in now}) == len(now), f"{run}: measured twice on one split")
            tally.remains["before any measurement"] += not now
            progress = len(now) > len(seen)
            tally.remains["no progress since the last kill"] += not progress
            tally.remains["measured all, not finished"] += len(now) == len(measured(straight))
            seen[:] = now
            return progress

        left = kills - tally.kills
        disturbed([*words, str(run)], window(saved, seconds, left), left, check, log, tally, rng)
        tally.rounds += 1
        before = len(seen)
        now = measured(run)
        tally.expect(now[:before] == seen, f"{run}: a measurement was lost")
        tally.expect(now == measured(straight), f"{run}: other measurements")
        results = [json.loads((r / f"search-{TARGET}.json").read_text()) for r in (run, straight)]
        tally.expect(results[0]["front"] == results[1]["front"], f"{run}: another front")
        tally.expect(results[0] == results[1], f"{run}: another result")
    return tally


def _copy(trained: Path, to: Path) -> Path:
    shutil.copytree(trained, to, ignore=shutil.ignore_patterns("journal*", "search-*", ".*"))
    return to


def main() -> None:
    """Run all jobs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills of training, and of search")
    parser.add_argument("--each", type=int, default=3, help="number of kills per strategy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measurements", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="a new folder for the runs, which is then kept")
    given = parser.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="kill-stress-"))
    root.mkdir(parents=True, exist_ok=True)
    write_photos(root / "photos")
    rng = random.Random(given.seed)
    plain = ["--epochs", "30", "--save-seconds", "0.5"]
    often = ["--epochs", "4", "--save-seconds", "0", "--ema", "0.95", "--amp", "bf16", "--strategy"]
    console = Console()
    table = Table("job", "kills", "finished", "failures", "what the kills left", title=f"SIGKILL, seed {given.seed}")
    failures = []
    jobs: dict[str, Callable[[], Tally]] = {
        "train": lambda: stress_training(root, "plain", plain, given.kills, rng),
        "search": lambda: stress_search(root, root / "plain", given.measurements, given.kills, rng),
    }
    for strategy in STRATEGIES:
        jobs[f"train, {strategy}, EMA, bf16"] = lambda s=strategy: (  # type: ignore[misc]
            stress_training(root, s, [*often, s], given.each, rng)
        )
    for name, work in jobs.items():
        began = time.monotonic()
        tally = work()
        console.print(f"{name}: {tally.kills} kills, {len(tally.failures)} failures, {time.monotonic() - began:.0f} s")
        remains = ", ".join(f"{count} {what}" for what, count in tally.remains.items() if count)
        table.add_row(name, str(tally.kills), str(tally.rounds), str(len(tally.failures)), remains)
        failures += tally.failures
    console.print(table)
    for failure in failures:
        console.print(f"FAILED {failure}", markup=False, soft_wrap=True)
    if not given.keep and not failures:
        shutil.rmtree(root)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
