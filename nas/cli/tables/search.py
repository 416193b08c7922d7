"""Results of a search and of fine-tuning, as tables."""

from __future__ import annotations

from typing import Any

from nas.cli.console import OUT, new_table, percent, say, show, warn
from nas.search.objectives import with_unit
from nas.workflows.finetune import FinetuneResult

from .listing import memory_line


def print_finetuned(result: FinetuneResult) -> None:
    """Accuracy before and after fine-tuning, which weights were kept, and what the export does."""
    if result.kept == "supernet":
        warn(f"fine-tuning {result.candidate} didn't make it better (search split); the supernet's weights are kept")
    OUT.print(f"exported: {result.path}  ({result.kept} weights)", soft_wrap=True, highlight=False)
    rows = [("before fine-tuning", "search", result.before), ("fine-tuned", "search", result.after)]
    rows += [(r.what, r.split, r.accuracy) for r in result.results if r.split == "test"]
    for what, split, accuracy in rows:
        OUT.print(f"  {what:<20} {split:<7} {percent(accuracy.value, accuracy.low, accuracy.high)} %", highlight=False)


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
