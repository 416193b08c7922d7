"""How results look in a terminal. Progress and messages go to stderr, results to stdout."""

from __future__ import annotations

from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

OUT = Console()
ERR = Console(stderr=True)


class _Live:
    """A progress display on stderr, silent where asked."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.progress = _progress()

    def __enter__(self) -> Self:
        if not self.quiet:
            self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if not self.quiet:
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
                ERR.print(entry["note"], highlight=False, soft_wrap=True)
        elif "start" in entry and not self.quiet:
            info = entry["data"]
            counts = ", ".join(f"{n} {split}" for split, n in info["counts"].items())
            ERR.print(f"{entry['start']}: {entry['steps']} steps on {info['source']} "
                      f"({len(info['classes'])} classes; {counts})")  # fmt: skip
        elif "smallest" in entry:
            self.note = f"smallest {100 * entry['smallest']:.1f} %, largest {100 * entry['largest']:.1f} %"
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
        bar = "random baseline" if entry["origin"] == "random" else "measuring"
        if bar not in self.tasks:
            self.tasks[bar] = self.progress.add_task(bar, total=entry["of"], note="")
        note = f"last {100 * entry['accuracy']:.1f} %"
        self.progress.update(self.tasks[bar], completed=entry["measured"], note=note)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=ERR, transient=not ERR.is_terminal,
    )  # fmt: skip


def warn(text: str) -> None:
    ERR.print(f"[yellow]warning:[/yellow] {text}", highlight=False, soft_wrap=True)


def following(command: str) -> None:
    """The command a user would type next."""
    ERR.print(f"next: {command}", highlight=False, soft_wrap=True)


def percent(found: dict[str, Any]) -> str:
    """Accuracy with half the width of its 95 % interval."""
    return f"{100 * found['value']:.2f} ± {50 * (found['high'] - found['low']):.2f}"


def print_finetuned(result: dict[str, Any]) -> None:
    """Accuracy before and after fine-tuning, which weights were kept, and what the export does."""
    if result["kept"] == "supernet":
        warn(f"fine-tuning {result['candidate']} made it no better (search split); the supernet's weights are kept")
    OUT.print(f"exported: {result['path']}  ({result['kept']} weights)", soft_wrap=True, highlight=False)
    rows = [("before fine-tuning", "search", result["before"]), ("fine-tuned", "search", result["after"])]
    rows += [(r["what"], r["split"], r) for r in result["results"] if r["split"] == "test"]
    for what, split, found in rows:
        OUT.print(f"  {what:<20} {split:<7} {percent(found)} %", highlight=False)


def print_search(result: dict[str, Any]) -> None:
    """The measured front and the figures that say how far to trust it."""
    config, target, front = result["config"], result["target"], result["front"]
    table = Table(title=f"measured Pareto front, {config['precision']}, {target['name']}", box=box.SIMPLE_HEAD)
    for name in ("candidate", "search %", "test %", "ms", "kB", "MMACs", "px"):
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    for member in front:
        table.add_row(
            member["id"], f"{100 * member['accuracy']['value']:.2f}", f"{100 * member['test']['value']:.2f}",
            f"{member['latency_ms']:.3f}", f"{member['size_bytes'] / 1e3:.1f}", f"{member['macs'] / 1e6:.2f}",
            str(member["architecture"]["genes"]["resolution"]),
        )  # fmt: skip
    OUT.print(table)
    halves = [max(50 * (m[k]["high"] - m[k]["low"]) for m in front) for k in ("accuracy", "test")]
    OUT.print(
        f"measured: accuracy, 95 % intervals up to ± {halves[0]:.1f} (search), ± {halves[1]:.1f} (test); "
        f"latency: {target['latency']}",
        soft_wrap=True,
    )
    counts, predictor = result["measurements"], result["predictor"]
    prior = f", {counts['prior']} from before" if counts["prior"] else ""
    OUT.print(
        f"hypervolume {result['hypervolume']:.4f} after {counts['new']} measurements{prior}; "
        f"random search {result['random_hypervolume']:.4f} after {counts['random']}",
        soft_wrap=True,
    )
    ref = result["reference"]
    OUT.print(f"  reference: error {ref['error']:.4f}, {ref['latency_ms']:.3f} ms, {ref['size_bytes'] / 1e3:.1f} kB")
    parts = [f"{name} {predictor[key]:.2f}" for key, name in _TAUS.items() if predictor.get(key) is not None]
    OUT.print(f"accuracy predictor, Kendall tau: {', '.join(parts)}", soft_wrap=True)


_TAUS = {
    "random_tau": "unseen random candidates",
    "log_macs_tau": "(log MACs alone there)",
    "picked_tau": "candidates before they were measured",
    "leave_one_out_tau": "leave one out",
}
