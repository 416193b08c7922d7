"""Fine-tuning: one candidate trained further from the supernet's weights, alone or inside wider networks.

It is a training run of its own, in ``<run>/finetune/``, which trains one network instead of a space; it starts from a
copy of the supernet's weights, which stay as they are. Its folder is named after the candidate and the settings: the
same command continues it, another one starts beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.events import Listener, Started
from nas.export.folder import Finetuned, export_candidate
from nas.export.hub import check_license
from nas.journal.journal import SEARCH, TEST
from nas.search.outcome import make_member, record_accuracy
from nas.store.exports import FinetuneOrigin, Result
from nas.store.files import check_folder
from nas.store.records import RunRecord
from nas.store.results import AccuracyRecord
from nas.store.run import Run, file_hash
from nas.store.settings import check_settings
from nas.store.versions import versions
from nas.store.words import count_of
from nas.training.amp import check_amp
from nas.training.builders import resolve_augment
from nas.training.check import check_config
from nas.training.config import (
    LR_SHARE,
    PHASE,
    SCRATCH_EPOCHS,
    SCRATCH_LR,
    TEACHER_WEIGHT,
    FinetuneConfig,
    Resources,
    TrainConfig,
    peak_lr,
    total_steps,
)
from nas.training.fitting import TINY
from nas.training.loop import Curriculum, train
from nas.training.rehearsal.lr_finder import scale_lr
from nas.training.strategies.fixed import Fixed
from nas.training.weights import config_of, load_supernet
from predictors.targets.target import Target, load_target
from search_spaces.errors import UsageError
from search_spaces.policy import FLOAT, Policy

from .estimate import DEFAULT_TARGET
from .export import export_source
from .resolve import read_candidate
from .trained import Trained, open_trained, same_weights


@dataclass(frozen=True)
class FinetunePlan:
    """What a fine-tuning would do, in words; ``folder``: of the training."""

    summary: str
    candidate: str
    steps: int
    folder: str


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning found.

    Attributes:
        before, after: accuracy on the search split.
        kept: ``finetuned``, or ``supernet`` where that is not better.
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
    """Fine-tune a candidate, or continue that, and export it with the better of its old and its new weights; with
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
    check_license(license)
    check_folder(out)
    with run.locked():
        trained, candidate, device = pick_candidate(open_trained(run), name, target)
        settings = train_config(trained, config, candidate.policy)
        check_amp(settings.amp, resources.device)
        strategy = Fixed(trained.space, candidate.architecture, config.netaug)
        watched = {"candidate": candidate.architecture}
        curriculum = Curriculum(strategy, watched, candidate.architecture.resolution, candidate.policy)
        settings_id = _settings_id(settings, trained.weights, candidate.precision)
        sub = run.finetune(f"{candidate.architecture.id}-{settings_id}")
        if dry_run:
            steps = total_steps(settings, trained.dataset.info.train_images)
            inside = " inside wider networks" if config.netaug else ""
            summary = f"would fine-tune {candidate.id}{inside} for {count_of(steps, 'step')} in {sub.path}"
            return FinetunePlan(summary, candidate.id, steps, str(sub.path))
        before, _ = trained.recall(candidate, SEARCH)
        tuned = _trained_further(trained, sub, settings, curriculum, resources, report)
        after, _ = tuned.recall(candidate, SEARCH)
        better = after.value > before.value
        kept = tuned if better else trained
        test, _ = kept.recall(candidate, TEST)
        origin = FinetuneOrigin(
            trained.weights, config.epochs, settings.lr, config.netaug, bool(settings.quantization_aware), config.seed
        )
        weights = "finetuned" if better else "supernet"
        folder = out or run.export(f"{device.name}-{candidate.id}-{weights}-{settings_id}")
        costs = kept.costs(device, ",".join(candidate.policy.precisions))
        member = make_member(costs, candidate, after if better else before, test)
        finetuned = Finetuned(before, origin) if better else None
        manifest = export_candidate(export_source(kept, finetuned), member, device, folder, license=license)
        return FinetuneResult(
            candidate.id, device.name, origin, record_accuracy(before), record_accuracy(after), weights, member.test,
            str(sub.path), str(folder), manifest.results,
        )  # fmt: skip


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


def train_config(trained: Trained, config: FinetuneConfig, policy: Policy) -> TrainConfig:
    """The supernet's training settings with those of a fine-tuning of a candidate of that policy in their place.

    There is no weight average: over a few epochs it would mostly be the weights of the start. Raises UsageError:
    nothing would be trained, or nothing quantized.
    """
    own = config_of(trained.run)
    peak = (trained.run.read().lr if own.lr_auto else None) or peak_lr(scale_lr(own))
    lr = float(f"{LR_SHARE * peak:.3g}") if config.lr is None else config.lr
    augment = resolve_augment(own, trained.dataset.info)
    aware = bool(own.quantization_aware) if config.quantization_aware is None else config.quantization_aware
    if config.quantization_aware and not policy.quantized:
        raise UsageError(f"`quantization_aware`: the candidate is {policy}, nothing of it is quantized; leave it out")
    menu = ",".join(name for name in policy.precisions if name != FLOAT) if aware else ""
    settings = replace(
        own, seed=config.seed, epochs=config.epochs, lr=lr, lr_auto=False, base_batch=0, ema=0.0, pretrained=False,
        zero_gamma=False, quantization_aware=menu, quantization_phase=1.0 if menu else PHASE,
        quantization_noise=own.quantization_noise if menu else 0.0, init=str(trained.run.supernet.resolve()),
        # "auto" would be settled anew by the epochs of the fine-tuning; it is "light" where it is not "none"
        augment="light" if augment == "auto" else augment,
    )  # fmt: skip
    check_config(settings)
    return replace(settings, strategy="netaug" if config.netaug else "fixed")


def _settings_id(settings: TrainConfig, weights: str, precision: str) -> str:
    """Six hexadecimal digits that change with the settings and the supernet, not with where that lies."""
    # as when the first of these folders got their names
    defaults = asdict(TrainConfig(space=TINY, lr=SCRATCH_LR, epochs=SCRATCH_EPOCHS))
    told = {key: value for key, value in asdict(settings).items() if key != "init" and value != defaults[key]}
    if settings.teacher_weight == TEACHER_WEIGHT:
        told.pop("teacher_weight")
    told |= {"policy": precision} if settings.quantization_aware else {}
    return hashlib.sha256(json.dumps([weights, told], sort_keys=True).encode()).hexdigest()[:6]


def _trained_further(
    trained: Trained, sub: Run, settings: TrainConfig, curriculum: Curriculum, resources: Resources, report: Listener
) -> Trained:
    """The run ``sub``, trained to its end: nothing is left to do, it continues, or it begins."""
    info = trained.dataset.info
    if not sub.exists:
        sub.path.mkdir(parents=True, exist_ok=True)
        sub.write(RunRecord(
            config=asdict(settings), data=info, versions=versions(), complete=False, finetuned_from=trained.weights
        ))  # fmt: skip
    record = sub.read()
    if not (record.complete and sub.supernet.exists() and file_hash(sub.supernet) == record.weights):
        if settings.teacher is not None and trained.run.teacher.exists() and not sub.teacher.exists():
            shutil.copyfile(trained.run.teacher, sub.teacher)  # what it says of the images was asked before
        steps = total_steps(settings, info.train_images)
        report(Started(str(sub.path), steps, info.source))
        train(sub, settings, trained.dataset, resources, report, curriculum)
        record = replace(record, complete=True, weights=file_hash(sub.supernet), steps=steps, versions=versions())
        sub.write(record)
    return replace(trained, run=sub, net=load_supernet(sub), weights=record.weights or "")
