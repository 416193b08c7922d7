"""Progress of long commands on stderr."""

from __future__ import annotations

from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nas.events import Advanced, Evaluated, Event, Measured, Noted, Recalled, Started, Stepped, Warned
from nas.store.words import count_of

from .console import ERR, tell, warn
from .messages import with_flags

_LINES = 4
"""Progress lines of a search whose output is piped."""


class Display:
    """Shows what a long job tells: texts, and in a terminal a bar for each task; of a ``quiet`` one warnings alone."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.note = quiet, ""
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(), console=ERR, disable=quiet or not ERR.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Warned(text):
                warn(text)
            case Noted(text):
                self._tell(with_flags(text))
            case Started(run, steps, source):
                self.note = ""
                self._tell(f"{run}: {count_of(steps, 'step')} on {source}")
                self._show("training", 0, steps, "")
            case Evaluated(step, accuracies, steps):
                self.note = ", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracies.items())
                if not ERR.is_terminal and "smallest" in accuracies:
                    self._tell(f"step {step}/{steps}: {self.note}")
            case Stepped():
                note = f"epoch {event.epoch:.1f}  loss {event.loss:.3f}  {self.note}"
                self._show("training", event.step, event.steps, note)
            case Recalled(count, front, hypervolume):
                known = count_of(count, "measurement")
                self._tell(f"{known} from before: a front of {front}, hypervolume {hypervolume:.4f}, "
                           "before any of this search")  # fmt: skip
            case Measured(origin, done, total, accuracy):
                bar = "measuring" if origin in ("first", "search") else f"baseline {origin}"
                note = f"last {100 * accuracy:.1f} %"
                self._show(bar, done, total, note)
                if not ERR.is_terminal and done % -(-total // _LINES) == 0:
                    self._tell(f"{bar} {done}/{total}: {note}")
            case Advanced(stage, done, total, note):
                self._show(stage, done, total, note)

    def _tell(self, text: str) -> None:
        if not self.quiet:
            tell(text, ERR)

    def _show(self, bar: str, done: int, total: int | None, note: str) -> None:
        if bar not in self.bars:
            self.bars[bar] = self.progress.add_task(bar, total=total, note="")
        self.progress.update(self.bars[bar], completed=done, total=total, note=note)
