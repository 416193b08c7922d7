"""One search by 1, 2 and 4 worker processes, on a journal file and on PostgreSQL, left alone and with workers killed.

    python -m benchmarks.search.workers [--seconds 0.5] [--measurements 40] [--kills 4] [--seed 0] [--on all]

A measurement looks an accuracy up in a made-up table and sleeps for ``--seconds``, as if another machine had made it,
so that the cores of this one do not limit what is measured: what is seen is the search, its waiting and its storage.
In the last row of each storage ``--kills`` of four workers are ended with SIGKILL at random moments, each replaced at
once by the same command.

Checked in every row: the result (front, baselines, fidelity) is that of one worker alone, bit for bit; no candidate is
recorded twice; nothing is measured twice but what a killed worker was at. A second table gives the cost of the storage
by itself, with 200 measurements of a 45-gene space in it. Exits with 1 where a check fails. PostgreSQL is a server of
its own in a temporary folder; without Debian's package ``postgresql`` its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.support.postgres import Server, missing
from nas.candidates.candidate import Candidate
from nas.journal.journal import Journal
from nas.search.config import SearchConfig
from nas.search.costs import CandidateCosts
from nas.search.search import search
from nas.tasks.classification import Accuracy
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.schema import to_json

SPACE = get_space("mbv3-tiny")
LARGE = get_space("mbv3-large")
FORK = multiprocessing.get_context("fork")
HELD, POLLS, CLAIMS = 200, 50, 20


def accuracy_of(candidate: Candidate) -> Accuracy:
    """Of a made-up supernet: genes are worth different amounts."""
    effect = np.random.default_rng(0).uniform(0, 0.01, len(SPACE.genes))
    return Accuracy(int(5000 * (0.6 + SPACE.encode(candidate.architecture) @ effect)), 5000)


def work(where: Path | str, name: str, config: SearchConfig, seconds: float, log: Path, out: Path) -> None:
    """One worker."""
    torch.set_num_threads(1)
    costs = CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target(config.target), config.precision)

    def measure(candidate: Candidate, split: str) -> Accuracy:
        with open(log, "a") as file:
            file.write(f"{candidate.id} {split}\n")
        time.sleep(seconds)
        return accuracy_of(candidate)

    result = to_json(search(costs, config, Journal(where, SPACE, "weights", name), measure, lambda entry: None))
    del result["seconds"]  # the process's own
    out.write_text(json.dumps(result))


def run(
    where: Path | str, name: str, config: SearchConfig, seconds: float, folder: Path, workers: int, kills: int
) -> dict[str, Any]:
    """A search by several workers; what it took and what it left."""
    log = folder / f"{name}.txt"
    log.touch()
    rng = random.Random(config.seed)
    outs: dict[int, Path] = {}

    def start() -> Any:
        out = folder / f"{name}.{len(outs)}.json"
        process = FORK.Process(target=work, args=(where, name, config, seconds, log, out))
        process.start()
        outs[process.pid or 0] = out
        return process

    began = time.monotonic()
    processes = [start() for _ in range(workers)]
    killed = 0
    while killed < kills:
        time.sleep(rng.uniform(2, 4) * seconds)
        if not all(p.is_alive() for p in processes):
            break
        victim = processes.pop(rng.randrange(workers))
        os.kill(victim.pid, signal.SIGKILL)
        del outs[victim.pid]
        processes.append(start())
        killed += 1
    for process in processes:
        process.join()
    wall = time.monotonic() - began
    begun = log.read_text().splitlines()
    recorded = [key for key, _ in raw_records(where, name)]
    results = {out.read_text() if out.exists() else "a worker failed" for out in outs.values()}
    return {
        "wall": wall, "killed": killed, "begun": len(begun), "again": len(begun) - len(set(begun)),
        "twice": len(recorded) - len(set(recorded)), "results": results,
    }  # fmt: skip


def raw_records(where: Path | str, name: str) -> list[tuple[str, float]]:
    """Every record of the search split, read with Optuna alone."""
    import optuna

    if isinstance(where, Path):
        backend = optuna.storages.journal.JournalFileBackend(str(where))
        storage: Any = optuna.storages.JournalStorage(backend)
    else:
        storage = where.replace("postgresql://", "postgresql+psycopg://")
    study = optuna.load_study(study_name=name, storage=storage)
    return [(json.dumps(trial.params, sort_keys=True), trial.value) for trial in study.trials]


def overhead(where: Path | str) -> list[float]:
    """Milliseconds of one record, one look at what others did, one claim with its end."""
    vectors = np.unique(LARGE.sample(np.random.default_rng(0), 2 * HELD), axis=0)[: HELD + CLAIMS]
    candidates = [Candidate(LARGE.decode(v), "int8") for v in vectors]
    journal = Journal(where, LARGE, "weights", "overhead")
    record = _each(lambda i: journal.add(candidates[i], Accuracy(5, 10), 1.0, "x"), HELD)
    look = _each(lambda i: journal.refresh(), POLLS)
    both = _each(lambda i: journal.recall(candidates[HELD + i], lambda c: Accuracy(5, 10), "x"), CLAIMS)
    return [record, look, both - record]


def _each(action: Callable[[int], object], count: int) -> float:
    began = time.perf_counter()
    for i in range(count):
        action(i)
    return 1000 * (time.perf_counter() - began) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--measurements", type=int, default=40)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", choices=("all", "file", "postgresql"), default="all")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server does not outlive the benchmark
    console = Console(width=120)
    config = SearchConfig("cortex-a72", "int8", options.measurements, seed=options.seed)
    table = Table("storage", "workers", "killed", "seconds", "efficiency", "begun", "again", "recorded twice", "result")
    costs = Table("storage", "record, ms", "look, ms", "claim and its end, ms")
    reason, fine, expected = "not asked for" if options.on == "file" else missing(), True, ""
    server = None if reason else Server()
    if reason:
        console.print(f"PostgreSQL is left out: {reason}")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            places: list[tuple[str, Path | str]] = []
            if options.on != "postgresql":
                places.append(("journal file", folder / "journal.log"))
            if server is not None:
                places.append(("PostgreSQL", server.url))
            for title, where in places:
                alone = 0.0
                for workers, kills in ((1, 0), (2, 0), (4, 0), (4, options.kills)):
                    study = f"{title} {workers} {kills}".replace(" ", "-")
                    found = run(where, study, config, options.seconds, folder, workers, kills)
                    (result,) = found["results"] if len(found["results"]) == 1 else ("different results",)
                    expected, alone = expected or result, alone or found["wall"]
                    good = result == expected and not found["twice"] and found["again"] <= found["killed"]
                    fine = fine and good and result.startswith("{")
                    same = "that of one worker" if result == expected else result[:40]
                    console.print(f"{title}, {workers} workers, {found['killed']} killed: {found['wall']:.1f} s")
                    table.add_row(
                        title, str(workers), str(found["killed"]), f"{found['wall']:.1f}",
                        f"{alone / workers / found['wall']:.2f}", str(found["begun"]), str(found["again"]),
                        str(found["twice"]), same,
                    )  # fmt: skip
                costs.add_row(title, *(f"{ms:.2f}" for ms in overhead(where)))
    finally:
        if server is not None:
            server.remove()
    console.print(table)
    console.print(costs)
    told = f"{options.measurements} measurements, as many of the baseline and those of the front on the test split"
    console.print(f"{told}: {options.seconds:g} s each")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
