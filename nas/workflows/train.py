"""Train the supernet of a run, from its last checkpoint where there is one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from nas.candidates.calibrate import calibrate
from nas.candidates.mirrored import mirror_findings
from nas.data.augment import describe_augment
from nas.data.batches import calibration_images
from nas.data.dataset import Dataset
from nas.data.summary import lines, summarise
from nas.events import Event, Listener, Noted, Started, Warned, ignore
from nas.store.records import RULES, DataInfo, RunRecord
from nas.store.run import DEFAULT_ROOT, Run
from nas.store.spawned import refuse_while_importing
from nas.store.versions import versions
from nas.store.words import count_of
from nas.supernet.first_weights import start_from
from nas.supernet.supernet import Supernet
from nas.training.amp import check_amp
from nas.training.builders import choose_optimizer, make_facts, make_parts, resolve_augment
from nas.training.check import augment_warnings, batch_warnings, check_config, ignored_settings, mirrors
from nas.training.config import Resources, TrainConfig, count_epochs, decay_of, peak_lr, total_steps
from nas.training.fitting import PRETRAINED, TINY, choose_space, describe_view
from nas.training.loggers import logging_to, parse_loggers
from nas.training.loop import train
from nas.training.processes.world import ALONE, World, check_processes
from nas.training.rehearsal.forecast import WORTH_A_FORECAST, Forecast, describe, forecast, shortage
from nas.training.rehearsal.lr_finder import settle_lr
from nas.training.strategies.base import SUPERNET, RunFacts
from nas.training.strategies.table import AUTO, TEACHER_FIRST, choose, get_strategy
from nas.training.teacher.teacher import open_teacher
from nas.training.weights import load_supernet
from search_spaces import get_space
from search_spaces.errors import UsageError
from search_spaces.families.named import WIDTHS, spell_out
from search_spaces.schema import Json, convert

from .single import is_trained, mark_trained
from .trained import as_trained, check_same_data, open_as
from .whole import extra_epochs, tune_whole

RESOURCES = Resources()


@dataclass(frozen=True)
class Planned:
    """What a training would do, in words, and what it would take."""

    summary: str
    forecast: Forecast

    def to_json(self) -> dict[str, Json]:
        """As ``--json`` prints it."""
        return {"summary": self.summary, **asdict(self.forecast)}


def default_run(config: TrainConfig) -> Run:
    """Where a run goes when nothing is said: named after data and space, so that the same command resumes it. Widths
    that no user named aren't part of it."""
    name = Path(config.source.rstrip("/")).name or "data"
    space = re.sub(r"[^\w.]+", "-", config.space.removesuffix(WIDTHS))
    return Run(DEFAULT_ROOT / f"{name}-{space}")


@dataclass(frozen=True)
class Settled:
    """A run whose space is known; ``dataset``: where it had to be opened for that."""

    run: Run
    config: TrainConfig
    dataset: Dataset | None = None


def settle_space(run: Run | None, config: TrainConfig, report: Listener = ignore) -> Settled:
    """The space of a run that names none, and with it the directory of one that has none.

    A run that exists keeps its space; so does one that the same command began when every run had ``mbv3-tiny``, or when
    the name of a timm model meant other choices. For a new run, the images decide.

    Raises:
        UsageError: settings outside their ranges, or weights to start from that are of no known space.
        UserError: unusable data, or a damaged run.
    """
    if config.space != AUTO:
        return _keep_choices(run or default_run(config), config, report)
    check_config(replace(config, space=PRETRAINED if config.pretrained else TINY))  # before images are read
    earlier = run or default_run(replace(config, space=TINY))
    if earlier.exists:
        record = earlier.read()
        named = _as_begun(replace(config, space=record.settings.space), record.config)
        if run is not None or not _different(earlier, named):
            if run is None:
                report(Noted(f"{earlier.path} is continued with its own space: `space` {named.space}"))
            return Settled(earlier, named)
    dataset = open_as(config, None)
    choice = choose_space(dataset.info, config.pretrained, config.init)
    report(Noted(choice.reason))
    config = replace(config, space=choice.space)
    return replace(_keep_choices(run or default_run(config), config, report), dataset=dataset)


def _keep_choices(run: Run, config: TrainConfig, report: Listener) -> Settled:
    """A run, with its own space where that is what the name of the wanted one meant when the run began."""
    own = run.read().settings.space if run.exists else config.space
    if own != config.space and spell_out(own) == config.space:
        report(Noted(f"{run.path} is continued with its own space: `space` {own}"))
        config = replace(config, space=own)
    return Settled(run, config)


def train_supernet(
    run: Run, config: TrainConfig, resources: Resources = RESOURCES, report: Listener = ignore, dry_run: bool = False,
    world: World = ALONE, dataset: Dataset | None = None,
) -> RunRecord | Planned | None:  # fmt: skip
    """Train the supernet of a run, from its last checkpoint where there is one; on every process of ``world``.

    Args:
        dataset: that of ``config``, where it is open already.

    Returns:
        The content of ``run.json``, or with ``dry_run`` what would be done; None on processes other than the first.

    Raises:
        UsageError: the directory holds a run with other settings.
        UserError: unusable data, or the directory is in use.
    """
    refuse_while_importing()
    if config.space == AUTO:
        found = settle_space(run, config, report)
        config, dataset = found.config, found.dataset
    check_config(config)
    check_amp(config.amp, resources.device)
    check_processes(world.size, config.batch_size, config.accumulate)
    if not world.main:
        if not dry_run:
            _follow(run, config, resources, world, dataset)
        return None
    parse_loggers(",".join(resources.log))
    record, why = run.read() if run.exists else None, ""
    if record is not None:
        config = _as_begun(config, record.config)
        _same_settings(run, config)
        if is_trained(run):
            world.from_main(None)
            return record
    dataset = dataset or open_as(config, None if record is None else record.data)
    for warning in dataset.warnings:
        report(Warned(warning))
    if record is not None:
        check_same_data(run, record.data, dataset)
        dataset = as_trained(record.data, dataset)
    else:
        config, dataset, why = _settle_start(config, dataset, report)
    if config.teacher is not None and record is None:
        for note in open_teacher(config.teacher, dataset).notes:  # one that doesn't fit must fail before there is a run
            report(Warned(note))
    facts = make_facts(config, dataset.info)
    get_strategy(config.strategy, facts)  # a space that it cannot support must leave no run behind
    steps = total_steps(config, dataset.info.train_images)
    augmented = describe_augment(resolve_augment(config, dataset.info), dataset.info, make_parts(config))
    seen = describe_view(config.space, dataset.info, augmented)
    held = Noted("\n".join([*lines(summarise(dataset)), seen]))
    if dry_run:
        report(held)
        expected = _forecast(config, dataset, resources, report)
        _explain(why, config, facts, dataset.info, report)
        summary = f"would train {config.space} for {count_of(steps, 'step')} in {run.path}: {describe(expected)}"
        return Planned(summary, expected)
    with run.locked("give another `out`"):
        if run.exists:
            check_same_data(run, run.read().data, dataset)
        else:
            run.write(RunRecord(
                config=asdict(config), data=dataset.info, versions=versions(), complete=False, rules=RULES
            ))  # fmt: skip
        report(held)
        report(Started(str(run.path), steps, dataset.info.source))
        _explain(why, config, facts, dataset.info, report)
        if steps >= WORTH_A_FORECAST and not run.checkpoint.exists():
            epochs = count_epochs(config, dataset.info.train_images) / world.size
            share = replace(config, batch_size=config.batch_size // world.size, epochs=epochs)
            report(Noted(describe(_forecast(share, dataset, resources, report))))
        alone = replace(config, accumulate=config.accumulate * world.size)  # what no process has memory for at once
        settled = replace(settle_lr(run, alone, dataset, resources, steps, report), accumulate=config.accumulate)
        world.from_main(settled)
        with logging_to(resources.log, run.path, settled) as log:

            def tell(event: Event) -> None:
                report(event)
                log(event)

            train(run, settled, dataset, resources, tell, world=world)
        tune_whole(run, replace(settled, accumulate=alone.accumulate), dataset, resources, report)
        mark_trained(run, steps)
        for warning in _mirror_findings(run, config, dataset):
            report(Warned(warning))
    return run.read()


def _mirror_findings(run: Run, config: TrainConfig, dataset: Dataset) -> list[str]:
    """What mirrored images are to the largest subnet of a trained run."""
    largest = get_space(config.space).largest

    def make() -> nn.Module:
        subnet = load_supernet(run).extract(largest)
        calibrate(subnet, calibration_images(dataset, largest.resolution))
        return subnet

    return mirror_findings(make, dataset, largest.resolution, mirrors(config, dataset.info))


def _follow(run: Run, config: TrainConfig, resources: Resources, world: World, dataset: Dataset | None) -> None:
    """What all processes but the first do: train, once the first has prepared the run."""
    dataset = dataset or open_as(config, run.read().data if run.exists else None)
    settled: TrainConfig | None = world.from_main(config)
    if settled is not None:
        trained = run.read().data
        check_same_data(run, trained, dataset)
        train(run, settled, as_trained(trained, dataset), resources, ignore, world=world)


def _explain(why: str, config: TrainConfig, facts: RunFacts, info: DataInfo, report: Listener) -> None:
    """Say ``why`` a run has its strategy, where it did not name one, and which settings have no effect or mix classes
    up."""
    if why:
        report(Noted(why))
    for warning in (*ignored_settings(config, facts), *batch_warnings(config, info), *augment_warnings(config, info)):
        report(Warned(warning))


def _forecast(config: TrainConfig, dataset: Dataset, resources: Resources, report: Listener) -> Forecast:
    """What the run will take, with a warning where it does not fit."""
    expected = forecast(config, dataset, resources)
    if expected.seconds is not None:
        images = dataset.info.train_images
        more = extra_epochs(config, total_steps(config, images)) / count_epochs(config, images)
        expected = replace(expected, seconds=expected.seconds * (1 + more))
    if problem := shortage(expected):
        report(Warned(problem))
    return expected


def _settle_start(config: TrainConfig, dataset: Dataset, report: Listener) -> tuple[TrainConfig, Dataset, str]:
    """Settle what a new run leaves to its first weights: strategy, rate, epochs, and how images are normalised.

    The weights are loaded into a supernet that is thrown away: those that don't fit must fail before there is a run.

    Returns:
        The settings, the data set, and why the strategy was chosen; empty where it was asked for.
    """
    facts, info = make_facts(config, dataset.info), dataset.info
    if config.starts_from_weights:
        start = start_from(Supernet(facts.space, dataset.interface), config.pretrained, config.init)
        for note in start.notes:
            report(Warned(note))
        if start.normalisation is not None and len(start.normalisation[0]) == info.in_chans:
            mean, std = start.normalisation
            dataset = replace(dataset, info=replace(info, mean=mean, std=std))
        if start.supernet:
            facts = replace(facts, start=SUPERNET)
            if config.strategy == TEACHER_FIRST:
                report(Warned(
                    "the first weights are a supernet's, and strategy teacher-first puts channels in another order: "
                    "what narrow subnets know is lost; leave `strategy` out to keep it"
                ))  # fmt: skip
    name, why = choose(facts) if config.strategy == AUTO else (config.strategy, "")
    optimizer = choose_optimizer(facts.space, dataset.interface) if config.optimizer == AUTO else config.optimizer
    config = replace(config, strategy=name, optimizer=optimizer, epochs=count_epochs(config, info.train_images))
    config = replace(config, lr=config.lr if config.lr_auto else peak_lr(config), weight_decay=decay_of(config))
    return config, dataset, why


def _as_begun(config: TrainConfig, there: Mapping[str, Json]) -> TrainConfig:
    """The settings, with what they leave open as the run has it that exists."""
    begun = convert(dict(there), TrainConfig)
    return replace(
        config,
        strategy=begun.strategy if config.strategy == AUTO else config.strategy,
        optimizer=begun.optimizer if config.optimizer == AUTO else config.optimizer,
        lr=begun.lr if config.lr is None else config.lr,
        weight_decay=begun.weight_decay if config.weight_decay is None else config.weight_decay,
        epochs=begun.epochs if config.epochs is None else config.epochs,
        teacher_weight=begun.teacher_weight if config.teacher_weight is None else config.teacher_weight,
    )


def _different(run: Run, config: TrainConfig) -> list[str]:
    """The settings that a run has otherwise, in words."""
    there, here = asdict(TrainConfig()) | run.read().config, asdict(config)
    return [f"{k} {there.get(k)!r} there, {here[k]!r} here" for k in here if there.get(k) != here[k]]


def _same_settings(run: Run, config: TrainConfig) -> None:
    if different := _different(run, config):
        raise UsageError(
            f"{run.path} holds a run with other settings ({'; '.join(different)}); "
            "give another `out`, or the same settings to continue"
        )
