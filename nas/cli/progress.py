"""Progress of long commands on stderr."""

from __future__ import annotations

from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nas.events import (
    Advanced,
    Described,
    Evaluated,
    Event,
    Measured,
    Noted,
    Recalled,
    Started,
    Stepped,
    Warned,
)
from nas.store.words import count_of

from .console import ERR, warn
from .messages import with_flags

_LINES = 4
"""Progress lines of a search whose output is piped."""


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

    def __call__(self, event: Event) -> None:
        match event:
            case Warned(text):
                warn(text)
            case Noted(text) if not self.quiet:
                ERR.print(with_flags(text), highlight=False, soft_wrap=True)
            case Described(lines) if not self.quiet:
                for line in lines:
                    ERR.print(line, highlight=False, markup=False, soft_wrap=True)
            case Started(run, steps, source) if not self.quiet:
                ERR.print(
                    f"{run}: {count_of(steps, 'step')} on {source}", highlight=False, markup=False, soft_wrap=True
                )
            case Evaluated():
                self.note = ", ".join(f"{name} {100 * value:.1f} %" for name, value in event.accuracies.items())
                if not self.quiet and not ERR.is_terminal and "smallest" in event.accuracies:
                    ERR.print(f"step {event.step}/{event.steps}: {self.note}")
            case Stepped():
                note = f"epoch {event.epoch:.1f}  loss {event.loss:.3f}  {self.note}"
                self.progress.update(self.task, completed=event.step, total=event.steps, note=note)


class SearchProgress(_Live):
    """Shows what the search reports."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Recalled(count, front, hypervolume) if not self.quiet:
                known = count_of(count, "measurement")
                ERR.print(f"{known} from before: a front of {front}, hypervolume {hypervolume:.4f}, "
                          "before any of this search", soft_wrap=True)  # fmt: skip
            case Measured(origin, done, total, accuracy):
                bar = "measuring" if origin in ("first", "search") else f"baseline {origin}"
                if bar not in self.tasks:
                    self.tasks[bar] = self.progress.add_task(bar, total=total, note="")
                note = f"last {100 * accuracy:.1f} %"
                self.progress.update(self.tasks[bar], completed=done, note=note)
                if not (self.quiet or ERR.is_terminal) and done % -(-total // _LINES) == 0:
                    ERR.print(f"{bar} {done}/{total}: {note}", highlight=False, soft_wrap=True)


class ProfileProgress(_Live):
    """Shows what a profile reports."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Warned(text):
                warn(text)
            case Advanced(stage, done, total, note):
                if stage not in self.tasks:
                    self.tasks[stage] = self.progress.add_task(stage, total=total, note="")
                self.progress.update(self.tasks[stage], completed=done, note=note)


def _progress(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=ERR, disable=not shown,
    )  # fmt: skip
