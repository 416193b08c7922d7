"""Fine-tuning a whole front at a shared cost: its members take turns in one training.

Every step trains one member, each in its turn, from the supernet's weights: members share most of their tensors, so
that what one learns serves the others too, and ten of them need a fraction of the steps that each would need alone. It
is one training of :mod:`nas.workflows.finetune`, with a folder of its own: stopped, the same command continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.events import Listener, Noted
from nas.export.hub import check_license
from nas.journal.journal import SEARCH, TEST
from nas.runtimes.table import check_packages, parse_formats
from nas.search.outcome import record_accuracy
from nas.store.files import check_folder, write_json
from nas.store.results import Member
from nas.store.run import Run
from nas.store.settings import check_settings
from nas.store.tuned import TunedMember, read_tuned, with_tuned
from nas.store.words import count_of
from nas.training.amp import check_amp
from nas.training.config import FinetuneConfig, Resources, check_shares
from nas.training.loop import Curriculum
from nas.training.rehearsal.forecast import WORTH_A_FORECAST, about, forecast_step
from nas.training.strategies.fixed import Fixed, InTurn
from predictors.targets.target import load_target
from search_spaces.errors import UsageError
from search_spaces.schema import to_json

from .describe import ALL
from .export import export_members
from .finetune import FinetunePlan, Training, make_training, ships_tuned, train_config, train_further
from .resolve import read_search
from .single import drop_states
from .trained import Trained, open_trained, same_weights

FRONT = "front"
"""Beginning of the folder's name."""


@dataclass(frozen=True)
class FrontResult:
    """What fine-tuning a front found.

    Attributes:
        epochs, steps: epochs that each member gets, and steps of all together.
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
    """Fine-tune the members of a front together, or continue that, and export each with its new weights unless they
    are worse; with ``dry_run`` return what would be done.

    Args:
        run: a trained run.
        target: whose front; None: the last search's.
        config: as in :func:`nas.training.config.share_epochs`.
        out: folder of the exports' folders; None: the run's own, as :func:`nas.workflows.export.export_model` has it.
        license: of the weights, as there.

    Raises:
        UsageError: unknown target, or settings that cannot train.
        UserError: the run is not trained, or not searched.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    check_settings(config)
    check_shares(config, front=True)
    check_license(license)
    check_folder(out)
    with run.locked():
        result = read_search(run, target)
        device = load_target(result.settings.target)
        check_packages(parse_formats(None, device.model))
        supernet = open_trained(run, result.settings.calibration_images)
        same_weights(supernet, result)
        members = sorted(result.front, key=lambda member: (-member.macs, member.id))
        if not members:
            raise UsageError("the front of this search is empty; search again: nas search")
        training = plan_front(supernet, [candidate_of(member) for member in members], config)
        check_amp(training.settings.amp, resources.device)
        plan = _describe(training, members, resources, dry_run or not training.run.exists)
        if dry_run:
            return replace(plan, summary=f"would fine-tune {plan.summary}")
        report(Noted(f"fine-tuning {plan.summary}"))
        after = train_further(training, replace(resources, evaluations=0), report)
        drop_states(training.run)
        known = read_tuned(run, result)  # without trainings that somebody removed
        known = replace(known, members=tuple(m for m in known.members if run.finetune(m.folder).supernet.exists()))
        for member in members:
            found = _measure(training, candidate_of(member), after)
            report(Noted(
                f"  {member.id}: {_percent(found.before.value)} before, {_percent(found.after.value)} fine-tuned"
            ))  # fmt: skip
            known = known.with_member(found)
            write_json(run.tuned, to_json(known))
        kept = known.kept_of(result)
        shipped = {member.id: member for member in with_tuned(result, kept).front}
        tuned = known.of(result)
        exported = export_members(
            supernet, [shipped[member.id] for member in members], kept, device,
            [out and out / member.id for member in members], license=license,
        )  # fmt: skip
        return FrontResult(
            result.settings.target, training.origin.epochs, training.steps, tuple(members),
            tuple(tuned[member.id] for member in members), tuple(str(path) for path, _ in exported),
        )  # fmt: skip


def candidate_of(member: Member) -> Candidate:
    return Candidate(member.architecture, member.precision)


def plan_front(supernet: Trained, candidates: Sequence[Candidate], config: FinetuneConfig) -> Training:
    """How candidates of a supernet are trained further in turn, for equally many epochs. Raises UsageError: the
    settings cannot train them."""
    settings = train_config(supernet, config, [candidate.policy for candidate in candidates])
    # precisions of one architecture are one training, unless it rounds as they do
    distinct = {each.id if settings.quantization_aware else each.architecture.id: each for each in candidates}
    members, count = tuple(distinct.values()), len(distinct)
    networks = tuple(Fixed(supernet.space, each.architecture, config.netaug, each.policy) for each in members)
    watched = {"largest": members[0].architecture, "smallest": members[-1].architecture}
    curriculum = Curriculum(InTurn(networks), watched, max(each.architecture.resolution for each in members))
    told = {"candidates": ",".join(distinct)}
    training = make_training(supernet, FRONT, config, settings, curriculum, told, count)
    if training.steps < count:
        raise UsageError(
            f"the front has {count} members and the budget makes {count_of(training.steps, 'step')}, too few for a "
            "turn of each: give a larger `budget`"
        )
    return training


def _describe(training: Training, members: Sequence[Member], resources: Resources, timed: bool) -> FinetunePlan:
    """What a training is, in words, with the time it takes where that is worth a look."""
    steps, shared = training.steps, training.run.path
    each = round(steps / len(members))
    summary = f"{count_of(len(members), 'candidate')} in turn for {steps:,} steps, about {each:,} each"
    if timed and steps >= WORTH_A_FORECAST:
        summary += f" ({about(steps * _time_step(training, members, resources))})"
    return FinetunePlan(f"{summary}, in {shared}", ALL, steps, str(shared))


def _time_step(training: Training, members: Sequence[Member], resources: Resources) -> float:
    """Seconds of a step: those of the largest and of the smallest are timed, and the others' lie between them by their
    MACs."""
    strategy = training.curriculum.strategy
    assert isinstance(strategy, InTurn)
    ends = strategy.networks[0], strategy.networks[-1]
    dataset = training.supernet.dataset
    large, small = (forecast_step(training.settings, dataset, resources, end) for end in ends)
    macs = [member.macs for member in members]
    share = (sum(macs) / len(macs) - macs[-1]) / max(macs[0] - macs[-1], 1)
    return small + share * (large - small)


def _measure(training: Training, candidate: Candidate, after: Trained) -> TunedMember:
    """What a training was worth to a candidate, and which weights ship."""
    supernet = training.supernet
    before, _ = supernet.recall(candidate, SEARCH)
    tuned, _ = after.recall(candidate, SEARCH)
    better = ships_tuned(before, tuned)
    test, _ = (after if better else supernet).recall(candidate, TEST)
    return TunedMember(
        id=candidate.id, folder=training.run.path.name, weights=after.weights, origin=training.origin,
        steps=training.steps, before=record_accuracy(before), after=record_accuracy(tuned),
        kept="finetuned" if better else "supernet", test=record_accuracy(test),
        calibration_images=supernet.calibration_images,
    )  # fmt: skip


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
