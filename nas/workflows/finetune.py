"""Fine-tuning: candidates trained further from the supernet's weights, one alone or inside wider networks.

It is a training run of its own, in ``<run>/finetune/``, which trains one network instead of a space; it starts from a
copy of the supernet's weights, which stay as they are. Its folder is named after the candidate and the settings: the
same command continues it, another one starts beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.events import Listener
from nas.export.folder import Finetuned, export_candidate
from nas.export.hub import check_license, data_name
from nas.journal.journal import SEARCH, TEST
from nas.runtimes.table import check_packages, parse_formats
from nas.search.outcome import make_member, record_accuracy
from nas.store.exports import FinetuneOrigin, Result
from nas.store.files import check_folder
from nas.store.results import AccuracyRecord
from nas.store.run import Run
from nas.store.settings import check_settings
from nas.store.words import count_of
from nas.tasks.task import Score
from nas.training.amp import check_amp
from nas.training.builders import settled_augment
from nas.training.check import check_config
from nas.training.config import (
    ADAPTED_WEIGHT,
    FINETUNE_SHARE,
    NESTEROV,
    NONE,
    PHASE,
    PLAIN,
    SCRATCH_EPOCHS,
    SCRATCH_LR,
    TEACHER_WEIGHT,
    FinetuneConfig,
    Resources,
    TrainConfig,
    check_shares,
    peak_lr,
    share_epochs,
    subnets_lr,
    total_steps,
)
from nas.training.fitting import TINY
from nas.training.loop import Curriculum
from nas.training.rehearsal.lr_finder import scale_lr
from nas.training.strategies.fixed import Fixed
from nas.training.strategies.table import AUTO
from nas.training.teacher.answers import answers_of
from nas.training.weights import config_of, load_supernet, measure_filters
from predictors.targets.target import Target, load_target
from search_spaces.errors import UsageError
from search_spaces.policy import FLOAT, Policy

from .estimate import DEFAULT_TARGET
from .export import export_source
from .resolve import read_candidate
from .single import is_trained, train_single
from .trained import Trained, open_trained, same_weights

SUPERNET, ADAPTED = "supernet", "adapted"
"""What a record calls the run's own weights; as teachers, the largest network and the whole before it was shared."""


@dataclass(frozen=True)
class FinetunePlan:
    """What a fine-tuning would do, in words; ``folder``: of the training, or of all of them."""

    summary: str
    candidate: str
    steps: int
    folder: str


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning found.

    Attributes:
        before, after: accuracy on the search split.
        kept: ``finetuned``, or ``supernet`` as :func:`ships_tuned` has it.
        test: accuracy of the kept weights on the test split.
        folder, path: of the training, and of the export.
    """

    candidate: str
    target: str
    finetuned_from: FinetuneOrigin
    before: AccuracyRecord
    after: AccuracyRecord
    kept: str
    test: AccuracyRecord
    folder: str
    path: str
    results: tuple[Result, ...]


def finetune(
    run: Run,
    name: str,
    target: str | None,
    config: FinetuneConfig,
    resources: Resources,
    report: Listener,
    out: Path | None = None,
    dry_run: bool = False,
    license: str | None = None,
) -> FinetuneResult | FinetunePlan:
    """Fine-tune a candidate, or continue that, and export it with its new weights unless they are worse; with
    ``dry_run`` return what would be done.

    Args:
        run: a trained run.
        name, target: as in :func:`pick_candidate`.
        out: folder of the export; None: beside the run's other exports, named after the weights that were kept.
        license: of the weights, as in :func:`nas.workflows.export.export_model`.

    Raises:
        UsageError: unknown candidate or target, or settings that cannot train.
        UserError: the run is not trained, or the architecture is not of its space.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    check_settings(config)
    check_shares(config, front=False)
    check_license(license)
    check_folder(out)
    with run.locked():
        trained, candidate, device = pick_candidate(open_trained(run), name, target)
        check_packages(parse_formats(None, device.model))
        training = plan_training(trained, candidate, config)
        check_amp(training.settings.amp, resources.device)
        if dry_run:
            inside = " inside wider networks" if config.netaug else ""
            summary = f"would fine-tune {candidate.id}{inside} for {count_of(training.steps, 'step')} in "
            path = str(training.run.path)
            return FinetunePlan(summary + path, candidate.id, training.steps, path)
        before, _ = trained.recall(candidate, SEARCH)
        tuned = train_further(training, resources, report)
        after, _ = tuned.recall(candidate, SEARCH)
        better = ships_tuned(before, after)
        kept = tuned if better else trained
        test, _ = kept.recall(candidate, TEST)
        weights = "finetuned" if better else SUPERNET
        folder = out or run.export(f"{device.name}-{candidate.id}-{weights}-{training.settings_id}")
        costs = kept.costs(device, ",".join(candidate.policy.precisions))
        member = make_member(costs, candidate, after if better else before, test)
        finetuned = Finetuned(record_accuracy(before), training.origin) if better else None
        manifest = export_candidate(export_source(kept, finetuned), member, device, folder, license=license)
        return FinetuneResult(
            candidate.id, device.name, training.origin, record_accuracy(before), record_accuracy(after), weights,
            member.test, str(training.run.path), str(folder), manifest.results,
        )  # fmt: skip


def ships_tuned(before: Score, after: Score) -> bool:
    """Whether fine-tuned weights ship, by accuracies on the search split before and after.

    A search chose its candidates by what they have on this split with the supernet's weights, which is therefore more
    than they have elsewhere (the winner's curse); nothing was chosen by what the fine-tuned weights have. So those ship
    unless they are below the 95 % interval of the others' accuracy.
    """
    return after.value >= before.interval()[0]


def pick_candidate(trained: Trained, name: str, target: str | None) -> tuple[Trained, Candidate, Target]:
    """A candidate of a run, and the target that it is for; with the run, set to calibrate as its search did.

    Args:
        name: id on a front (or its beginning), ``best``, ``fastest``, ``smallest``; or an architecture as JSON, or a
            file of it, which takes its precision from the target.
        target: None: the last search's, or for an architecture :data:`nas.workflows.estimate.DEFAULT_TARGET`.

    Raises:
        UsageError: the candidate is not on the front, or the target is unknown.
        UserError: there is no such search, or the architecture is not of the run's space.
    """
    chosen = read_candidate(trained.run, name, target)
    architecture = trained.own(chosen.architecture)
    if chosen.search is None or chosen.precision is None:
        device = load_target(target or DEFAULT_TARGET)
        return trained, Candidate(architecture, device.precision(None)), device
    same_weights(trained, chosen.search)
    device = load_target(chosen.search.settings.target)
    trained = replace(trained, calibration_images=chosen.search.settings.calibration_images)
    return trained, Candidate(architecture, chosen.precision), device


@dataclass(frozen=True)
class Training:
    """How candidates are to be trained further: one, or several in turn.

    Attributes:
        supernet: what they are candidates of, and start from.
        name: beginning of the name of the training's folder.
        settings_id: six hexadecimal digits that change with the settings, the candidates of several and the weights of
            the supernet, not with where they lie.
        origin: of the weights that it ends with.
    """

    supernet: Trained
    name: str
    settings: TrainConfig
    settings_id: str
    curriculum: Curriculum
    origin: FinetuneOrigin

    @property
    def run(self) -> Run:
        return self.supernet.run.finetune(f"{self.name}-{self.settings_id}")

    @property
    def steps(self) -> int:
        return total_steps(self.settings, self.supernet.dataset.info.train_images)


def plan_training(supernet: Trained, candidate: Candidate, config: FinetuneConfig) -> Training:
    """How a candidate of a supernet is trained further with these settings. Raises UsageError: they cannot train it."""
    settings = train_config(supernet, config, [candidate.policy])
    architecture, policy = candidate.architecture, candidate.policy
    fixed = Fixed(supernet.space, architecture, config.netaug, policy)
    curriculum = Curriculum(fixed, {"candidate": architecture}, architecture.resolution)
    told = {"policy": candidate.precision} if settings.quantization_aware else {}
    return make_training(supernet, architecture.id, config, settings, curriculum, told)


def make_training(
    supernet: Trained, name: str, config: FinetuneConfig, settings: TrainConfig, curriculum: Curriculum,
    told: Mapping[str, str], together: int | None = None,
) -> Training:  # fmt: skip
    """A training further.

    Args:
        settings: what :func:`train_config` made of it; the epochs of all candidates are put in.
        told: what decides the weights beside the settings.
        together: how many candidates take turns; None: there is one.
    """
    count = together or 1
    epochs = share_epochs(config, supernet.dataset.info.train_images, count)
    settings = replace(settings, epochs=epochs * count)
    own = {str(supernet.run.adapted): ADAPTED, _whole(supernet): SUPERNET}
    teacher = settings.teacher and own.get(settings.teacher, settings.teacher)
    origin = FinetuneOrigin(
        supernet.weights, epochs, settings.lr, config.netaug, bool(settings.quantization_aware), config.seed,
        teacher and data_name(teacher), together=together,
    )  # fmt: skip
    settings_id = _settings_id(replace(settings, teacher=teacher), supernet.weights, told)
    return Training(supernet, name, settings, settings_id, curriculum, origin)


def train_config(trained: Trained, config: FinetuneConfig, policies: Sequence[Policy]) -> TrainConfig:
    """The supernet's training settings with those of a fine-tuning of candidates of these policies in their place, but
    for the epochs.

    There is no weight average: over a few epochs it would mostly be the weights of the start. Raises UsageError:
    nothing would be trained, or nothing quantized.
    """
    own = config_of(trained.run)
    aware = bool(own.quantization_aware) if config.quantization_aware is None else config.quantization_aware
    precisions = dict.fromkeys(name for policy in policies for name in policy.precisions)
    if config.quantization_aware and not any(policy.quantized for policy in policies):
        raise UsageError(f"`quantization_aware`: the precision is {policies[0]}, nothing is quantized; leave it out")
    menu = ",".join(name for name in precisions if name != FLOAT) if aware else ""
    taught = own.teacher is None and trained.run.adapted.exists()  # by the adapted whole, all that it knows
    if config.teacher == NONE or (config.teacher == AUTO and taught):
        own = replace(own, teacher=None, teacher_weight=TrainConfig.teacher_weight,
                      teacher_temperature=TrainConfig.teacher_temperature)  # fmt: skip
    elif config.teacher != AUTO:
        own = replace(own, teacher=config.teacher)
        if Path(config.teacher).resolve() == trained.run.adapted.resolve():
            weight = ADAPTED_WEIGHT if own.teacher_weight is None else own.teacher_weight
            own = replace(own, teacher=str(trained.run.adapted), teacher_weight=weight)
    elif own.teacher is None:
        own = replace(own, teacher=_whole(trained))
    peak = (trained.run.read().lr if own.lr_auto else None) or peak_lr(scale_lr(own))
    settings = replace(
        own, seed=config.seed, lr=_usual_lr(trained, peak) if config.lr is None else config.lr,
        lr_auto=False, base_batch=0, ema=0.0, pretrained=False,
        zero_gamma=False, quantization_aware=menu, quantization_phase=1.0 if menu else PHASE,
        quantization_noise=own.quantization_noise if menu else 0.0, init=str(trained.run.supernet.resolve()),
        augment=settled_augment(own, trained.dataset.info),
    )  # fmt: skip
    check_config(settings)
    return replace(settings, strategy="netaug" if config.netaug else "fixed")


def _usual_lr(trained: Trained, peak: float) -> float:
    """The peak learning rate where none is given; ``peak``: that of the supernet."""
    own = config_of(trained.run)
    if not own.starts_from_weights:
        return float(f"{FINETUNE_SHARE * peak:.3g}")
    rate = subnets_lr(peak, measure_filters(trained.net.model.state_dict()), own.optimizer)
    return float(f"{rate:.3g}")


def _whole(trained: Trained) -> str:
    """The name of the supernet's largest network as a teacher."""
    return str(trained.run.path.resolve())


def _settings_id(settings: TrainConfig, weights: str, more: Mapping[str, str]) -> str:
    """Six hexadecimal digits that change with the settings, the weights of the start and what else is told."""
    # as when the first of these folders got their names
    defaults = asdict(TrainConfig(
        space=TINY, lr=SCRATCH_LR, epochs=SCRATCH_EPOCHS, optimizer=NESTEROV, weight_decay=PLAIN.decay
    ))  # fmt: skip
    told = {key: value for key, value in asdict(settings).items() if key != "init" and value != defaults[key]}
    if settings.teacher_weight == TEACHER_WEIGHT:
        told.pop("teacher_weight")
    return hashlib.sha256(json.dumps([weights, {**told, **more}], sort_keys=True).encode()).hexdigest()[:6]


def train_further(training: Training, resources: Resources, report: Listener) -> Trained:
    """The run of a training, at its end: nothing is left to do, it continues, or it begins."""
    supernet, sub, settings = training.supernet, training.run, training.settings
    if not is_trained(sub):
        answers = _ask_teacher(supernet, settings, resources.device, report)  # one that doesn't fit fails here
        if answers is not None and not sub.teacher.exists():
            sub.path.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(answers, sub.teacher)
        train_single(sub, settings, supernet.dataset, supernet.weights, resources, report, training.curriculum)
    return replace(supernet, run=sub, net=load_supernet(sub), weights=sub.read().weights or "")


def _ask_teacher(supernet: Trained, settings: TrainConfig, device: str, report: Listener) -> Path | None:
    """The file of what the teacher says of the images: the supernet's own, or one that is asked once for all
    fine-tunings of a run; None: there is no teacher."""
    if settings.teacher is None:
        return None
    trained_with = config_of(supernet.run).teacher or str(supernet.run.adapted)
    if settings.teacher == trained_with and supernet.run.teacher.exists():
        return supernet.run.teacher
    shared = supernet.run.finetune()
    shared.path.mkdir(exist_ok=True)
    answers_of(shared, settings.teacher, settings.teacher_temperature, supernet.dataset, device, report)
    return shared.teacher
