"""Progress of long commands on stderr."""

from __future__ import annotations

from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .console import ERR, warn
from .messages import with_flags

_LINES = 4
"""That tell of the progress of a search in a pipe."""


class _Live:
    """A progress display on stderr, where that is a terminal; silent where asked."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.progress = _progress(shown=not quiet and ERR.is_terminal)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()


class TrainingProgress(_Live):
    """Shows what the training loop reports."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.task = self.progress.add_task("training", total=None, note="")
        self.note = ""

    def __call__(self, entry: dict[str, Any]) -> None:
        if "warning" in entry:
            warn(entry["warning"])
        elif "note" in entry:
            if not self.quiet:
                ERR.print(with_flags(entry["note"]), highlight=False, soft_wrap=True)
        elif "summary" in entry and not self.quiet:
            for line in entry["summary"]:
                ERR.print(line, highlight=False, markup=False, soft_wrap=True)
        elif "start" in entry and not self.quiet:
            text = f"{entry['start']}: {entry['steps']} steps on {entry['data']['source']}"
            ERR.print(text, highlight=False, markup=False, soft_wrap=True)
        elif "smallest" in entry:
            ends = ("smallest", "random", "largest")
            self.note = ", ".join(f"{name} {100 * entry[name]:.1f} %" for name in ends if name in entry)
            if not self.quiet and not ERR.is_terminal:
                ERR.print(f"step {entry['step']}/{entry['steps']}: {self.note}")
        elif "candidate" in entry:
            self.note = f"candidate {100 * entry['candidate']:.1f} %"
        elif "loss" in entry:
            note = f"epoch {entry['epoch']:.1f}  loss {entry['loss']:.3f}  {self.note}"
            self.progress.update(self.task, completed=entry["step"], total=entry["steps"], note=note)


class SearchProgress(_Live):
    """Shows what the search reports."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.tasks: dict[str, Any] = {}

    def __call__(self, entry: dict[str, Any]) -> None:
        if "known" in entry:
            if not self.quiet:
                ERR.print(f"{entry['known']} measurements from before: a front of {entry['front']}, hypervolume "
                          f"{entry['hypervolume']:.4f}, before any of this search", soft_wrap=True)  # fmt: skip
            return
        bar = "measuring" if entry["origin"] in ("first", "search") else f"baseline {entry['origin']}"
        if bar not in self.tasks:
            self.tasks[bar] = self.progress.add_task(bar, total=entry["of"], note="")
        note = f"last {100 * entry['accuracy']:.1f} %"
        self.progress.update(self.tasks[bar], completed=entry["measured"], note=note)
        if not (self.quiet or ERR.is_terminal) and entry["measured"] % -(-entry["of"] // _LINES) == 0:
            ERR.print(f"{bar} {entry['measured']}/{entry['of']}: {note}", highlight=False, soft_wrap=True)


class ProfileProgress(_Live):
    """Shows what a profile reports."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.tasks: dict[str, Any] = {}

    def __call__(self, entry: dict[str, Any]) -> None:
        if "warning" in entry:
            warn(entry["warning"])
            return
        if entry["stage"] not in self.tasks:
            self.tasks[entry["stage"]] = self.progress.add_task(entry["stage"], total=entry["of"], note="")
        self.progress.update(self.tasks[entry["stage"]], completed=entry["done"], note=entry["note"])


def _progress(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=ERR, disable=not shown,
    )  # fmt: skip
