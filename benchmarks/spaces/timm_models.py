"""Which timm models become a supernet: walks ``timm.list_models()`` and tries every name (``timm_checks.py`` says how).

    python -m benchmarks.spaces.timm_models --out results/walk
    python -m benchmarks.spaces.timm_models --out results/walk --again failed late    # these once more
    python -m benchmarks.spaces.timm_models --out results/walk --only page --page docs/timm-models.md

The smallest model of each class comes first, then the others by size. Every row is kept as soon as it is known, and a
name that has one is not tried again: a walk can be stopped and continued. Each name is tried in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from search_spaces.builders.timm_compat import NoInit, timm

from .timm_checks import Row, check
from .timm_page import markdown, summary

ROWS, MODELS = "rows.jsonl", "models.json"
PATIENCE = 20
"""A process that gets little of a processor is waited for so many times its limit of processor time."""


@dataclass(frozen=True)
class Name:
    """A name to try: class and millions of parameters of its model, and whether it is the smallest of its class."""

    name: str
    kind: str
    million: float
    first: bool


def names_in_order(folder: Path) -> list[Name]:
    """Timm's names: the smallest model of each class, then the others by size. What timm has is kept in the folder."""
    kept = folder / MODELS
    models: dict[str, tuple[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in timm.list_models():
        if name not in models:
            with NoInit():
                model = timm.create_model(name, device="meta")
            models[name] = type(model).__name__, round(sum(p.numel() for p in model.parameters()) / 1e6, 2)
    kept.write_text(json.dumps(models))
    by_size = sorted(models, key=lambda name: (models[name][1], name))
    first = {models[name][0]: name for name in reversed(by_size)}
    found = [Name(name, *models[name], first[models[name][0]] == name) for name in by_size]
    return sorted(found, key=lambda each: not each.first)


def read_rows(folder: Path) -> dict[str, Row]:
    """The last row of each name. A line that a killed process left unfinished is passed over."""
    rows: dict[str, Row] = {}
    lines = (folder / ROWS).read_text().split("\n")[:-1] if (folder / ROWS).exists() else []
    for line in lines:
        row = Row(**json.loads(line))
        rows[row.name] = row
    return rows


def walk(names: Iterable[Name], folder: Path, limit: float, seconds: int, jobs: int) -> None:
    """Try names, some at once, and keep their rows."""
    running: dict[Name, tuple[BaseProcess, Connection, float]] = {}
    waiting = list(names)[::-1]
    gc.freeze()  # processes share what is there now
    with (folder / ROWS).open("a") as file:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop()
                running[name] = (*_start(name, limit, seconds), time.monotonic())
            for name, (process, receiver, began) in list(running.items()):
                late = time.monotonic() - began > PATIENCE * seconds
                row = _result(name, process, receiver, late, seconds)
                if row is not None:
                    file.write(json.dumps(row.to_json()) + "\n")
                    file.flush()
                    print(f"{len(waiting):5}  {row.status:8}{row.seconds:6.1f} s  {row.name}  {row.why}", flush=True)
                    del running[name]
            time.sleep(0.02)


def _start(name: Name, limit: float, seconds: int) -> tuple[BaseProcess, Connection]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_try, args=(sender, name, limit, seconds))
    process.start()
    sender.close()
    return process, receiver


def _try(sender: Connection, name: Name, limit: float, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    sender.send(check(name.name, name.kind, name.million, limit, name.first))


def _result(name: Name, process: BaseProcess, receiver: Connection, late: bool, seconds: int) -> Row | None:
    """The row of a process; None: it still runs."""
    row = Row(name.name, name.kind, name.million, "died")
    if receiver.poll():
        try:
            row = receiver.recv()
        except EOFError:  # it ended without a row
            process.join()
            if process.exitcode in (-24, -9):  # SIGXCPU and SIGKILL: of its limit, or the system's memory
                row = replace(row, status="late", why=f"{seconds} s of processor time, or all memory, were not enough")
            else:
                row = replace(row, why=f"its process ended with {process.exitcode}")
    elif late:
        process.kill()
        row = replace(row, status="late", why=f"{PATIENCE * seconds} s were not enough")
    else:
        return None
    process.join()
    receiver.close()
    return row


def chosen(names: Sequence[Name], rows: dict[str, Row], again: Iterable[str]) -> list[Name]:
    """Names without a row, and those whose row has a status, or that are named, in ``again``."""
    wanted = set(again)
    return [each for each in names if each.name not in rows or each.name in wanted or rows[each.name].status in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder of rows")
    parser.add_argument("--again", nargs="*", default=[], help="statuses (failed, refused, late, died) or names")
    parser.add_argument("--only", default="", choices=("again", "page"), help="those of --again alone, or none at all")
    parser.add_argument("--limit", type=float, default=30, help="millions of parameters that are still run")
    parser.add_argument("--seconds", type=int, default=120, help="of processor time, for a name")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--page", type=Path, help="Markdown")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = names_in_order(given.out)
    rows = read_rows(given.out)
    if given.only != "page":
        todo = chosen(names, rows, given.again)
        todo = [each for each in todo if each.name in rows] if given.only == "again" else todo
        walk(todo, given.out, given.limit, given.seconds, given.jobs)
        rows = read_rows(given.out)
    print(dict(Counter(row.status for row in rows.values())), f"of {len(names)}")
    print("\n".join(summary(rows.values())))
    if given.page:
        given.page.write_text(markdown(rows, [each.name for each in names], timm.__version__, given.limit))


if __name__ == "__main__":
    main()
