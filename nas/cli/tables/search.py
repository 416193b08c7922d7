"""Results of a search, as tables."""

from __future__ import annotations

from nas.cli.console import new_table, say, show
from nas.search.bounds import Bounds
from nas.search.objectives import OBJECTIVES, latency_on, with_unit
from nas.store.results import Fidelity, Member, SearchResult
from search_spaces.schema import convert, to_json

from .listing import memory_line


def print_search(result: SearchResult) -> None:
    """The measured front and the figures that say how far to trust it."""
    precision = result.settings.precision
    table = new_table(title=f"measured Pareto front, {precision}, {result.target.name}")
    mixed = ["bits"] if "," in precision else []
    latency, *rest = (row for row in OBJECTIVES.values() if row.name in {"latency", "size", "macs", *result.objectives})
    costs = [latency, *map(latency_on, result.others), *rest]
    for name in ("candidate", *mixed, "search %", "test %", *(cost.header for cost in costs), "px"):
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    for member in result.front:
        table.add_row(
            member.id, *(policy_bits(member) for _ in mixed),
            f"{100 * member.accuracy.value:.2f}", f"{100 * member.test.value:.2f}",
            *(cost.cell(member) for cost in costs), str(member.architecture.resolution),
        )  # fmt: skip
    show(table)
    _say_measured(result)
    _say_whole(result)
    _say_hypervolume(result)
    _say_predictor(result.predictor)


def policy_bits(member: Member) -> str:
    """Bits of the weights of a member of a front: stem and head, then every stage; one number where all are equal."""
    from search_spaces import get_space
    from search_spaces.policy import WEIGHT_BITS, parse_policy, stages_of

    policy = parse_policy(member.precision)
    if not policy.stages:
        return str(WEIGHT_BITS[policy.outer])
    stages = stages_of(get_space(member.architecture.space))
    return " ".join([f"{WEIGHT_BITS[policy.outer]}:", *(str(WEIGHT_BITS[policy.of(stage)]) for stage in stages)])


def _say_measured(result: SearchResult) -> None:
    search, test = (
        max(50 * (accuracy.high - accuracy.low) for accuracy in accuracies)
        for accuracies in ([m.accuracy for m in result.front], [m.test for m in result.front])
    )
    marked = ", marked ~" if any(member.latency_outside for member in result.front) else ""
    say(f"measured: accuracy, 95 % intervals up to ± {search:.1f} (search), ± {test:.1f} (test); "
          f"latency: {result.target.latency}{marked}")  # fmt: skip
    for name, label in result.others.items():
        say(f"  on {name}: {label}")
    if bounds := convert(result.config.get("bounds", {}), Bounds).in_words():
        say(f"within the bounds: {bounds}")
    if limits := to_json(result.memory):
        say(f"within the memory of {result.target.name}: {memory_line(limits)}")


def _say_whole(result: SearchResult) -> None:
    """The whole network at each resolution, and what the front has at no more cost."""
    for member in result.whole or ():
        best = result.best_within(member.latency_ms)
        beside = "" if best is None else f"; on the front, at no more: {_accuracies(best)} ({best.id})"
        say(f"the whole, fine-tuned, {member.architecture.resolution} px: {_accuracies(member)}, "
            f"{OBJECTIVES['latency'].cell(member)} ms{beside}")  # fmt: skip


def _accuracies(member: Member) -> str:
    return f"{100 * member.accuracy.value:.2f} % (search), {100 * member.test.value:.2f} % (test)"


def _say_hypervolume(result: SearchResult) -> None:
    counts = result.measurements
    prior = f", {counts.prior} from before" if counts.prior else ""
    others = "; ".join(f"{name} {b.hypervolume:.4f} after {b.measurements}" for name, b in result.baselines.items())
    say(
        f"hypervolume {result.hypervolume:.4f} after {counts.new} measurements{prior}"
        + (f"; {others}" if others else "")
    )
    corner = ", ".join(with_unit(name, value) for name, value in result.reference.items())
    growth = ", ".join(f"{n}: {v:.4f}" for n, v in result.hypervolumes.items())
    say(f"  reference: {corner}; growth: {growth}; {result.stopped}")
    if result.gain_over_random is not None:
        gain = 100 * result.gain_over_random
        say(f"  the front is {gain:+.2f} points above random subnets of equal cost, on average")
    ends = "; ".join(f"{name} {100 * end.accuracy.value:.2f} %" for name, end in result.extremes.items())
    spent = ", ".join(f"{stage} {s:.0f} s" for stage, s in (result.seconds or {}).items() if s >= 0.5)
    say("  " + "; ".join(part for part in (ends, f"time: {spent}" if spent else "") if part))


def _say_predictor(fidelity: Fidelity) -> None:
    say(f"accuracy predictor: {fidelity.choice}")
    lines = [
        ("left out one by one", fidelity.leave_one_out, fidelity.log_macs),
        ("unseen random candidates", fidelity.random, fidelity.random_log_macs),
    ]
    for what, ranking, macs in lines:
        if ranking is not None and ranking.tau is not None:
            best = "" if ranking.tau_best is None else f", {ranking.tau_best:.2f} among the best 30 %"
            beside = "" if macs is None or macs.tau is None else f"; log MACs alone: {macs.tau:.2f}"
            error = "" if ranking.rmse is None else f", RMSE {100 * ranking.rmse:.2f} points"
            say(f"  {what}: Kendall tau {ranking.tau:.2f}{best}{error}{beside}")
    before = fidelity.front_beforehand
    if before.rmse is not None and before.bias is not None:
        say(f"  the front's members before they were measured: RMSE {100 * before.rmse:.2f} points, "
              f"bias {100 * before.bias:+.2f}")  # fmt: skip
