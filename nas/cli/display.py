"""How results look in a terminal. Progress and messages go to stderr, results to stdout.

In a terminal, lines are broken between words and tables fit its width where they can. In a pipe every line is whole,
without colours or control characters, and progress is a line now and then.
"""

from __future__ import annotations

import textwrap
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nas.search.units import with_unit

OUT = Console(markup=False)  # names of files and classes may hold what rich takes for markup
ERR = Console(stderr=True, markup=False)
_UNBOUNDED = 10_000  # columns
_LINES = 4
"""That tell of the progress of a search in a pipe."""


def say(text: str, bold: int = 0) -> None:
    """Lines on stdout, for people; ``bold``: so many characters at the beginning."""
    if OUT.is_terminal:
        text = "\n".join(map(_broken, text.splitlines()))
    styled = Text(text)
    styled.stylize("bold", 0, bold)
    OUT.print(styled, highlight=False, soft_wrap=True)


def _broken(line: str) -> str:
    """A line in the terminal's width; what is broken off stands two columns further to the right."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, max(OUT.width, 40), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def new_table(*columns: str, title: str | None = None) -> Table:
    """The one look of tables; ``columns``: headings of those on the left."""
    return Table(*columns, title=title, box=box.SIMPLE_HEAD)


def show(table: Table) -> None:
    """A table on stdout, wider than the terminal rather than with cells cut off, and never narrowed in a pipe."""
    needed = OUT.measure(table, options=OUT.options.update(width=_UNBOUNDED))
    width = max(OUT.width, needed.minimum if OUT.is_terminal else needed.maximum)
    Console(width=width, markup=False).print(table)


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
                ERR.print(entry["note"], highlight=False, soft_wrap=True)
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


def warn(text: str) -> None:
    ERR.print(Text.assemble(("warning:", "yellow"), f" {text}"), highlight=False, soft_wrap=True)


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
    elsewhere = list(result["others"])
    table = new_table(title=f"measured Pareto front, {config['precision']}, {target['name']}")
    mixed = ["bits"] if "," in config["precision"] else []
    memory = ["peak kB"] if "memory" in result["objectives"] else []
    for name in (
        "candidate",
        *mixed,
        "search %",
        "test %",
        "ms",
        *(f"ms {t}" for t in elsewhere),
        "kB",
        "MMACs",
        *memory,
        "px",
    ):
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    for member in front:
        table.add_row(
            member["id"], *(policy_bits(member) for _ in mixed),
            f"{100 * member['accuracy']['value']:.2f}", f"{100 * member['test']['value']:.2f}",
            f"{member['latency_ms']:.3f}", *(f"{member['latency_elsewhere_ms'][t]:.3f}" for t in elsewhere),
            f"{member['size_bytes'] / 1e3:.1f}", f"{member['macs'] / 1e6:.2f}",
            *(f"{member['peak_activation_bytes'] / 1e3:.1f}" for _ in memory),
            str(member["architecture"]["genes"]["resolution"]),
        )  # fmt: skip
    show(table)
    _say_measured(result)
    _say_hypervolume(result)
    _say_predictor(result["predictor"])


def policy_bits(member: dict[str, Any]) -> str:
    """Bits of the weights of a member of a front: stem and head, then every stage; one number where all are equal."""
    from search_spaces import get_space
    from search_spaces.policy import WEIGHT_BITS, parse_policy, stages_of

    policy = parse_policy(member["precision"])
    if not policy.stages:
        return str(WEIGHT_BITS[policy.outer])
    stages = stages_of(get_space(member["architecture"]["space"]))
    return " ".join([f"{WEIGHT_BITS[policy.outer]}:", *(str(WEIGHT_BITS[policy.of(stage)]) for stage in stages)])


def _say_measured(result: dict[str, Any]) -> None:
    target, front = result["target"], result["front"]
    halves = [max(50 * (m[k]["high"] - m[k]["low"]) for m in front) for k in ("accuracy", "test")]
    say(f"measured: accuracy, 95 % intervals up to ± {halves[0]:.1f} (search), ± {halves[1]:.1f} (test); "
          f"latency: {target['latency']}")  # fmt: skip
    for name, label in result["others"].items():
        say(f"  on {name}: {label}")
    if limits := result.get("memory"):
        from .listing import memory_line

        say(f"within the memory of {target['name']}: {memory_line(limits)}")


def _say_hypervolume(result: dict[str, Any]) -> None:
    counts = result["measurements"]
    prior = f", {counts['prior']} from before" if counts["prior"] else ""
    others = "; ".join(
        f"{name} {b['hypervolume']:.4f} after {b['measurements']}" for name, b in result["baselines"].items()
    )
    say(
        f"hypervolume {result['hypervolume']:.4f} after {counts['new']} measurements{prior}"
        + (f"; {others}" if others else "")
    )
    corner = ", ".join(with_unit(name, value) for name, value in result["reference"].items())
    growth = ", ".join(f"{n}: {v:.4f}" for n, v in result["hypervolumes"].items())
    say(f"  reference: {corner}; growth: {growth}; {result['stopped']}")
    if result["gain_over_random"] is not None:
        gain = 100 * result["gain_over_random"]
        say(f"  the front is {gain:+.2f} points above random subnets of equal cost, on average")
    ends = "; ".join(f"{name} {100 * e['accuracy']['value']:.2f} %" for name, e in result["extremes"].items())
    spent = ", ".join(f"{stage} {s:.0f} s" for stage, s in result["seconds"].items() if s >= 0.5)
    say("  " + "; ".join(part for part in (ends, f"time: {spent}" if spent else "") if part))


def _say_predictor(found: dict[str, Any]) -> None:
    say(f"accuracy predictor: {found['choice']}")
    lines = [
        ("left out one by one", found["leave_one_out"], found["log_macs"]),
        ("unseen random candidates", found.get("random"), found.get("random_log_macs")),
    ]
    for what, own, macs in lines:
        if own is not None and own["tau"] is not None:
            best = "" if own["tau_best"] is None else f", {own['tau_best']:.2f} among the best 30 %"
            beside = "" if macs["tau"] is None else f"; log MACs alone: {macs['tau']:.2f}"
            say(f"  {what}: Kendall tau {own['tau']:.2f}{best}, RMSE {100 * own['rmse']:.2f} points{beside}")
    before = found["front_beforehand"]
    if before["candidates"]:
        say(f"  the front's members before they were measured: RMSE {100 * before['rmse']:.2f} points, "
              f"bias {100 * before['bias']:+.2f}")  # fmt: skip


def print_profile(facts: dict[str, Any]) -> None:
    """A finished profile: how well held-out networks were predicted, by precision."""
    OUT.print(f"wrote {facts['target']}: {facts['description']}; {facts['runtime']}", soft_wrap=True, highlight=False)
    table = new_table("precision", "held-out subnets", "MAPE %", "within 10 %", "Kendall tau", "fitted")
    for precision, fit in facts["precisions"].items():
        table.add_row(
            precision, str(fit["networks"]), f"{fit['mape']:.1f}", f"{fit['within_10']:.0f} %", f"{fit['tau']:.2f}",
            str(fit["fitted"]),
        )  # fmt: skip
    show(table)
    for precision, fit in facts["precisions"].items():
        say(f"{precision} latency: {fit['label']}")
