"""Fine-tuning a whole front at a shared cost: neighbours start from each other.

Members are trained from the largest to the smallest, each for its share of the epochs. The largest starts from the
supernet's weights. What a training leaves is the supernet's tensors with those of the trained member in their places;
the next member borrows from them, where that makes it better than borrowing from the supernet does, and so begins with
what its larger neighbour has learned. Each training is one of :mod:`nas.workflows.finetune`, with a folder of its own:
stopped, the same command continues, and what is trained is not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.events import Listener, Noted
from nas.export.hub import check_license
from nas.journal.journal import SEARCH, TEST
from nas.search.outcome import record_accuracy
from nas.store.files import check_folder, write_json
from nas.store.results import Member
from nas.store.run import Run
from nas.store.settings import check_settings
from nas.store.tuned import TunedMember, read_tuned, with_tuned
from nas.store.words import count_of
from nas.training.amp import check_amp
from nas.training.config import FinetuneConfig, Resources
from nas.training.rehearsal.forecast import WORTH_A_FORECAST, about, forecast_step
from predictors.targets.target import load_target
from search_spaces.errors import UsageError
from search_spaces.schema import to_json

from .describe import ALL
from .export import export_members
from .finetune import FinetunePlan, Training, plan_training, train_further
from .resolve import read_search
from .single import drop_states
from .trained import Trained, open_trained, same_weights


@dataclass(frozen=True)
class FrontResult:
    """What fine-tuning a front found.

    Attributes:
        epochs, steps: of each member.
        searched: the front as the search found it, from the largest member to the smallest.
        tuned: the same members, as they were fine-tuned.
        paths: exported folders, in the same order.
    """

    target: str
    epochs: float
    steps: int
    searched: tuple[Member, ...]
    tuned: tuple[TunedMember, ...]
    paths: tuple[str, ...]


def finetune_front(
    run: Run,
    target: str | None,
    config: FinetuneConfig,
    resources: Resources,
    report: Listener,
    out: Path | None = None,
    dry_run: bool = False,
    license: str | None = None,
) -> FrontResult | FinetunePlan:
    """Fine-tune all members of a front, or continue that, and export each with the better of its old and its new
    weights; with ``dry_run`` return what would be done.

    Args:
        run: a trained run.
        target: whose front; None: the last search's.
        config: its ``budget`` is shared by the members alike; None: its ``epochs`` for each.
        out: folder of the exports' folders; None: the run's own, as :func:`nas.workflows.export.export_model` has it.
        license: of the weights, as there.

    Raises:
        UsageError: unknown target, or settings that cannot train.
        UserError: the run is not trained, or not searched.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    check_settings(config)
    check_license(license)
    check_folder(out)
    with run.locked():
        result = read_search(run, target)
        supernet = open_trained(run, result.settings.calibration_images)
        same_weights(supernet, result)
        members = sorted(result.front, key=lambda member: (-member.macs, member.id))
        each = _share(config, len(members))
        plans = [plan_training(supernet, candidate_of(member), each) for member in members]
        check_amp(plans[0].settings.amp, resources.device)
        new = not plans[0].run.exists
        plan = _describe(plans, members, resources, dry_run or new)
        if dry_run:
            return replace(plan, summary=f"would fine-tune {plan.summary}")
        report(Noted(f"fine-tuning {plan.summary}"))
        known = read_tuned(run, result)
        neighbour: tuple[str, Trained] | None = None
        for number, member in enumerate(members, start=1):
            report(Noted(f"member {number} of {len(members)}: {member.id}, {member.macs / 1e6:.1f} MMACs"))
            training = choose_start(supernet, candidate_of(member), each, neighbour, report)
            after = train_further(training, replace(resources, evaluations=0), report)
            found = _measure(training, after)
            report(Noted(f"  {_percent(found.before.value)} before, {_percent(found.after.value)} fine-tuned"))
            known = known.with_member(found)
            write_json(run.tuned, to_json(known))
            drop_states(training.run)
            neighbour = member.id, after
        kept = known.kept_of(result)
        shipped = {member.id: member for member in with_tuned(result, kept).front}
        tuned = {member.id: member for member in known.members}
        exported = export_members(
            supernet, [shipped[member.id] for member in members], kept, load_target(result.settings.target),
            [out and out / member.id for member in members], license=license,
        )  # fmt: skip
        return FrontResult(
            result.settings.target, each.epochs, plans[0].steps, tuple(members),
            tuple(tuned[member.id] for member in members), tuple(str(path) for path, _ in exported),
        )  # fmt: skip


def candidate_of(member: Member) -> Candidate:
    return Candidate(member.architecture, member.precision)


def _share(config: FinetuneConfig, members: int) -> FinetuneConfig:
    """The settings of each of so many members."""
    if not members:
        raise UsageError("the front of this search is empty; search again: nas search")
    if config.budget is None:
        return config
    if config.epochs != FinetuneConfig.epochs:
        raise UsageError("`budget` is shared by all members and `epochs` is what each gets; give one of them")
    return replace(config, epochs=config.budget / members, budget=None)


def _describe(plans: Sequence[Training], members: Sequence[Member], resources: Resources, timed: bool) -> FinetunePlan:
    """What the trainings are together, with the time they take where that is worth a look.

    A step of the largest and of the smallest are timed, and those of the others lie between them by their MACs.
    """
    first, steps = plans[0], sum(plan.steps for plan in plans)
    shared = first.supernet.run.finetune().path
    summary = f"{count_of(len(plans), 'candidate')} for {count_of(first.steps, 'step')} each, {steps:,} in all"
    if timed and steps >= WORTH_A_FORECAST:
        ends = [plans[0], plans[-1]]
        dataset = first.supernet.dataset
        large, small = (forecast_step(p.settings, dataset, resources, p.curriculum.strategy) for p in ends)
        span = max(members[0].macs - members[-1].macs, 1)
        shares = ((member.macs - members[-1].macs) / span for member in members)
        seconds = first.steps * sum(small + share * (large - small) for share in shares)
        summary += f" ({about(seconds)})"
    return FinetunePlan(f"{summary}, in {shared}", ALL, steps, str(shared))


def choose_start(
    supernet: Trained, candidate: Candidate, config: FinetuneConfig, neighbour: tuple[str, Trained] | None,
    report: Listener,
) -> Training:  # fmt: skip
    """The training of a candidate from the weights that it is better with before it is trained: its neighbour's or the
    supernet's."""
    if neighbour is None:
        return plan_training(supernet, candidate, config)
    name, tuned = neighbour
    own, theirs = (weights.recall(candidate, SEARCH)[0].value for weights in (supernet, tuned))
    chosen = neighbour if theirs > own else None
    report(Noted(
        f"  {_percent(theirs)} on the search split with the fine-tuned weights of {name}, {_percent(own)} with the "
        f"supernet's: it starts from the {'former' if chosen else 'latter'}"
    ))  # fmt: skip
    return plan_training(supernet, candidate, config, chosen)


def _measure(training: Training, after: Trained) -> TunedMember:
    """What a training was worth, of which the better weights are kept."""
    supernet, candidate = training.supernet, training.candidate
    before, _ = supernet.recall(candidate, SEARCH)
    tuned, _ = after.recall(candidate, SEARCH)
    better = tuned.value > before.value
    test, _ = (after if better else supernet).recall(candidate, TEST)
    return TunedMember(
        id=candidate.id, folder=training.run.path.name, weights=after.weights, origin=training.origin,
        steps=training.steps, before=record_accuracy(before), after=record_accuracy(tuned),
        kept="finetuned" if better else "supernet", test=record_accuracy(test),
    )  # fmt: skip


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
