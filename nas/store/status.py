"""Where each run stands, from its small files alone: nothing is locked, and no framework is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError

from .hints import Hint, hint
from .metrics import metric_of
from .run import DEFAULT_ROOT, Run

_TAIL = 65536
"""Bytes at the end of ``metrics.jsonl`` that are looked at: hundreds of lines."""


def list_runs(root: Path = DEFAULT_ROOT) -> list[dict[str, Any]]:
    """Runs in the folders of ``root``, that of :func:`nas.store.run.latest` first; or ``root`` itself, where it is one.

    Raises:
        UserError: ``root`` is no folder.
    """
    if root != DEFAULT_ROOT and not root.is_dir():
        raise UserError(f"{root} is no folder; give the one that holds runs")
    found = [root / "run.json"] if (root / "run.json").exists() else list(root.glob("*/run.json"))
    return [standing(Run(path.parent)) for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]


def standing(run: Run) -> dict[str, Any]:
    """Where a run stands.

    Returns:
        ``run``, the directory; ``state``: ``trained``, ``training`` (not finished) or ``damaged`` with ``problem``;
        ``space`` and ``source``; ``step`` of ``steps`` (None: not known); ``busy``, whether a process works on it;
        ``searched``, targets; ``exported``, folders; ``finetuned``, candidates.
    """
    facts: dict[str, Any] = {"run": str(run.path), "state": "damaged", "problem": ""}
    facts |= {"space": None, "source": None, "step": None, "steps": None, "busy": run.busy}
    facts["searched"] = sorted(run.searches())
    facts["exported"] = sorted(path.parent.name for path in run.path.glob("export/*/architecture.json"))
    facts["finetuned"] = sorted(path.parent.name for path in run.path.glob("finetune/*/run.json"))
    try:
        content = run.read()
    except (UserError, OSError) as error:
        return facts | {"problem": str(error)}
    config = content["config"] if isinstance(content["config"], Mapping) else {}
    facts |= {"space": config.get("space"), "source": config.get("source")}
    if content["complete"]:
        gone = "" if run.supernet.exists() else f"{run.supernet.name} is gone; train it again: {run.going_on}"
        steps = content.get("steps")
        return facts | {"state": "damaged" if gone else "trained", "problem": gone, "step": steps, "steps": steps}
    step, steps = _progress(run.metrics)
    return facts | {"state": "training", "step": step, "steps": steps}


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


def next_command(found: list[dict[str, Any]]) -> Hint:
    """What one would type next, after looking at the newest run."""
    if not found or found[0]["state"] == "damaged":
        return hint("train-supernet")
    newest = found[0]
    if newest["state"] == "training":
        return Run(Path(newest["run"])).going_on
    return hint("report" if newest["searched"] else "search", run=newest["run"])
