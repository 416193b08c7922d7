"""Where each run stands, from its small files alone: nothing is locked, and no framework is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from search_spaces.errors import UserError

from .hints import hint
from .metrics import metric_of
from .run import DEFAULT_ROOT, Run

_TAIL = 65536
"""Bytes at the end of ``metrics.jsonl`` that are looked at: hundreds of lines."""


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        state: ``trained``, ``training`` (not finished) or ``damaged``.
        problem: what is damaged; empty: nothing.
        step, steps: steps done, of how many; None: not known.
        busy: whether a command works on it now.
        searched, exported, finetuned: names of targets, folders and candidates.
    """

    run: str
    state: str
    problem: str
    space: str | None
    source: str | None
    step: int | None
    steps: int | None
    busy: bool
    searched: tuple[str, ...]
    exported: tuple[str, ...]
    finetuned: tuple[str, ...]


def list_runs(root: Path = DEFAULT_ROOT) -> list[RunStatus]:
    """Runs in the folders of ``root``, that of :func:`nas.store.run.latest` first; or ``root`` itself, where it is one.
    Raises UserError: ``root`` isn't a folder."""
    if root != DEFAULT_ROOT and not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds runs")
    files = [root / "run.json"] if (root / "run.json").exists() else list(root.glob("*/run.json"))
    return [read_status(Run(path.parent)) for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)]


def read_status(run: Run) -> RunStatus:
    status = RunStatus(
        str(run.path), "damaged", "", None, None, None, None, run.busy, tuple(sorted(run.searches())),
        tuple(sorted(path.parent.name for path in run.path.glob("export/*/architecture.json"))),
        tuple(sorted(path.parent.name for path in run.path.glob("finetune/*/run.json"))),
    )  # fmt: skip
    try:
        record = run.read()
    except (UserError, OSError) as error:
        return replace(status, problem=str(error))
    status = replace(status, space=record.settings.space or None, source=record.settings.source or None)
    if record.complete:
        gone = "" if run.supernet.exists() else f"{run.supernet.name} is gone; train it again: {run.resume_hint}"
        state = "damaged" if gone else "trained"
        return replace(status, state=state, problem=gone, step=record.steps, steps=record.steps)
    step, steps = _progress(run.metrics)
    return replace(status, state="training", step=step, steps=steps)


def _progress(metrics: Path) -> tuple[int, int | None]:
    """Steps done and steps in all, of the last whole line that says them."""
    try:
        with open(metrics, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return 0, None
    for line in reversed(lines):
        metric = metric_of(line)
        if metric is not None and metric.steps is not None:
            return metric.step, metric.steps
    return 0, None


def next_after_report(status: RunStatus) -> str | None:
    """What one would type next, after reading the page of a run; None: it is searched, exported and fine-tuned."""
    if not status.searched:
        return hint("search", run=status.run)
    if not status.exported:
        return next_after_search(Run(Path(status.run)))
    return None if status.finetuned else hint("finetune", run=status.run)


def next_after_search(run: Run, target: str | None = None) -> str:
    """What one would type next, with a front at hand: ``nas export``; before it ``nas finetune`` where the run began
    with trained weights, since its members gain most by it there.

    Args:
        target: of the search, as it was typed, for ``nas export``; ``nas finetune`` takes the last one by itself.
    """
    if run.adapted.exists() and not any(run.path.glob("finetune/*/run.json")):
        return hint("finetune", "all", run=run.path)
    return hint("export", run=run.path, target=target)


def next_command(rows: Sequence[RunStatus]) -> str:
    """What one would type next, after looking at the newest run."""
    if not rows or rows[0].state == "damaged":
        return hint("train-supernet")
    newest = rows[0]
    if newest.state == "training":
        return Run(Path(newest.run)).resume_hint
    return hint("report" if newest.searched else "search", run=newest.run)
