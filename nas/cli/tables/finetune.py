"""Results of fine-tuning a candidate or a front."""

from __future__ import annotations

from nas.cli.console import new_table, percent, say, show, tell, warn
from nas.search.objectives import LATENCY, MACS
from nas.store.words import count_of
from nas.workflows.finetune import FinetuneResult
from nas.workflows.finetune_front import FrontResult


def print_finetuned(result: FinetuneResult) -> None:
    """Accuracy before and after fine-tuning, which weights were kept, and what the export does."""
    if result.kept == "supernet":
        warn(f"fine-tuning made {result.candidate} worse (search split); the supernet's weights are kept")
    elif result.after.value < result.before.value:
        say("on the search split, by which the candidate was chosen, it has less than before, within chance")
    tell(f"exported: {result.path}  ({result.kept} weights)")
    rows = [("before fine-tuning", "search", result.before), ("fine-tuned", "search", result.after)]
    rows += [(r.what, r.split, r.accuracy) for r in result.results if r.split == "test"]
    for what, split, accuracy in rows:
        tell(f"  {what:<20} {split:<7} {percent(accuracy.value, accuracy.low, accuracy.high)} %")


def print_tuned_front(result: FrontResult) -> None:
    """Every member before and after, and where it was exported."""
    table = new_table(title=f"front of {result.target}, fine-tuned")
    names = ("candidate", MACS.header, LATENCY.header, "search %", "tuned", "test %", "shipped", "weights")
    for name in names:
        table.add_column(name, justify="left" if name in ("candidate", "weights") else "right", no_wrap=True)
    for member, tuned in zip(result.searched, result.tuned, strict=True):
        table.add_row(
            member.id, MACS.cell(member), LATENCY.cell(member),
            f"{100 * tuned.before.value:.2f}", f"{100 * tuned.after.value:.2f}",
            f"{100 * member.test.value:.2f}", f"{100 * tuned.test.value:.2f}", tuned.kept,
        )  # fmt: skip
    show(table)
    better = sum(tuned.kept == "finetuned" for tuned in result.tuned)
    members = count_of(len(result.tuned), "member")
    others = "" if better == len(result.tuned) else "; the others became worse on the search split"
    say(f"{better} of {members} ship with fine-tuned weights{others}")
    for path in result.paths:
        tell(f"exported: {path}")
