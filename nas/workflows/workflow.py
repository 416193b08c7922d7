"""What each command does: open the run, call the rooms, keep the result in the run directory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.candidates.calibrate import CALIBRATION_IMAGES, Calibration, check_images
from nas.candidates.candidate import Candidate
from nas.candidates.ship import Shipped, measure, ship
from nas.data.dataset import SPLITS, DataInfo, Dataset, check_compatible
from nas.data.opening import open_dataset
from nas.data.summary import lines, summarise
from nas.journal.journal import SEARCH, TEST, Journal, study_name
from nas.journal.storage import check_url
from nas.search.config import SearchConfig, check_config, with_others
from nas.search.objectives import CandidateCosts
from nas.search.search import accuracy_dict, search
from nas.store.files import atomic_write, check_folder, is_json, read_json, write_json
from nas.store.records import SEARCH as SEARCH_RESULT
from nas.store.run import DEFAULT_ROOT, Run, file_hash
from nas.store.versions import versions
from nas.supernet.first_weights import start_from
from nas.supernet.supernet import Supernet
from nas.tasks.score import Accuracy
from nas.training.amp import check_amp
from nas.training.config import Engine, TrainConfig, check_settings, total_steps
from nas.training.ineffective import without_effect
from nas.training.loggers import logging_to, parse_loggers
from nas.training.loop import setting, train
from nas.training.processes.world import ALONE, World, check_processes
from nas.training.rehearsal.forecast import WORTH_A_FORECAST, Forecast, describe, forecast, shortage
from nas.training.rehearsal.lr_finder import check_lr, settle_lr
from nas.training.strategies import AUTO, Setting, choose, get_strategy
from nas.training.teacher.teacher import open_teacher
from nas.training.weights import config_of, load_supernet
from predictors.accuracy.files import to_bytes
from predictors.accuracy.predictor import AccuracyPredictor
from predictors.costs.network import CostTables
from predictors.targets.target import Target, load_target
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.policy import check_stages, parse_policy

Report = Callable[[dict[str, Any]], None]
ENGINE = Engine()


def silent(entry: dict[str, Any]) -> None:
    """A report that nobody reads."""


def default_run(config: TrainConfig) -> Run:
    """Where a run goes when nothing is said: named after data and space, so that the same command resumes it."""
    name = Path(config.source.rstrip("/")).name or "data"
    space = re.sub(r"[^\w.]+", "-", config.space)
    return Run(DEFAULT_ROOT / f"{name}-{space}")


def train_supernet(
    run: Run, config: TrainConfig, engine: Engine = ENGINE, report: Report = silent, dry_run: bool = False,
    world: World = ALONE,
) -> dict[str, Any]:  # fmt: skip
    """Train the supernet of a run, from its last checkpoint where there is one; on every process of ``world``.

    Args:
        run: directory, made where there is none.
        report: called with each thing worth telling: ``warning``, ``note``, ``summary``, and the lines of
            ``metrics.jsonl``.
        dry_run: check everything, and return a ``summary`` of what would be done.

    Returns:
        The content of ``run.json``.

    Raises:
        UsageError: the directory holds a run with other settings.
        UserError: unusable data, or the directory is in use.
    """
    check_settings(config)
    check_lr(config)
    check_amp(config.amp, engine.device)
    check_processes(world.size, config.batch_size, config.accumulate)
    if not world.main:
        return {} if dry_run else _follow(run, config, engine, world)
    parse_loggers(",".join(engine.log))
    if run.exists:
        _same_settings(run, config)
        content = run.read()
        if content["complete"] and run.supernet.exists() and file_hash(run.supernet) == content["weights"]:
            world.from_main(None)
            return content
    dataset = open_dataset(config.source, config.seed, config.root)
    for warning in dataset.warnings:
        report({"warning": warning})
    if run.exists:
        dataset = _as_trained(run, dataset)
    elif config.pretrained or config.init is not None:
        dataset = _try_start(config, dataset, report)
    if config.teacher is not None and not run.exists:
        for note in open_teacher(config.teacher, dataset).notes:  # one that does not fit shall leave no run behind
            report({"warning": note})
    known = setting(config, dataset.info)
    get_strategy(config.strategy, known)  # a space that it cannot support shall leave no run behind
    steps = total_steps(config, dataset.info.counts["train"])
    held = {"summary": lines(summarise(dataset))}
    if dry_run:
        report(held)
        expected = _forecast(config, dataset, engine, report)
        _explain(config, known, report)
        summary = f"would train {config.space} for {steps} steps in {run.path}: {describe(expected)}"
        return {"summary": summary, **asdict(expected)}
    with run.locked():
        if run.exists:
            _same_data(run, dataset)
        else:
            started = {"config": asdict(config), "data": dataset.info.to_dict(), "versions": versions()}
            run.write(started | {"complete": False})
        report(held)
        report({"start": str(run.path), "steps": steps, "data": dataset.info.to_dict()})
        _explain(config, known, report)
        if steps >= WORTH_A_FORECAST and not run.checkpoint.exists():
            share = replace(config, batch_size=config.batch_size // world.size, epochs=config.epochs / world.size)
            report({"note": describe(_forecast(share, dataset, engine, report))})
        alone = replace(config, accumulate=config.accumulate * world.size)  # what no process has memory for at once
        settled = replace(settle_lr(run, alone, dataset, engine, steps, report), accumulate=config.accumulate)
        world.from_main(settled)
        with logging_to(engine.log, run.path, asdict(settled)) as log:
            train(run, settled, dataset, engine, _both(report, log), world=world)
        done = {"complete": True, "weights": file_hash(run.supernet), "steps": steps, "versions": versions()}
        run.write(run.read() | done)
    return run.read()


def _follow(run: Run, config: TrainConfig, engine: Engine, world: World) -> dict[str, Any]:
    """What all processes but the first do: train, once the first has prepared the run."""
    dataset = open_dataset(config.source, config.seed, config.root)
    settled: TrainConfig | None = world.from_main(config)
    if settled is not None:
        _same_data(run, dataset)
        train(run, settled, _as_trained(run, dataset), engine, lambda entry: None, world=world)
    return {}


def _explain(config: TrainConfig, known: Setting, report: Report) -> None:
    """Say which strategy ``auto`` is for a run, and why, and which settings a strategy makes nothing of."""
    if config.strategy == AUTO:
        report({"note": choose(known)[1]})
    for warning in without_effect(config, known):
        report({"warning": warning})


def _forecast(config: TrainConfig, dataset: Dataset, engine: Engine, report: Report) -> Forecast:
    """What the run will take, with a warning where it does not fit."""
    found = forecast(config, dataset, engine)
    if problem := shortage(found):
        report({"warning": problem})
    return found


def _both(first: Report, second: Report) -> Report:
    def report(entry: dict[str, Any]) -> None:
        first(entry)
        second(entry)

    return report


def _try_start(config: TrainConfig, dataset: Dataset, report: Report) -> Dataset:
    """Load the first weights into a supernet that is thrown away: those that do not fit shall leave no run behind.

    Returns:
        The data set, normalised as the weights expect.
    """
    info = dataset.info
    net = Supernet(get_space(config.space), info.num_classes, info.in_chans)
    start = start_from(net, config.pretrained, config.init)
    for note in start.notes:
        report({"warning": note})
    if start.normalisation is None or len(start.normalisation[0]) != info.in_chans:
        return dataset
    mean, std = start.normalisation
    return dataset.with_info(replace(info, mean=mean, std=std))


def _as_trained(run: Run, dataset: Dataset) -> Dataset:
    """The data set, normalised as the run began."""
    trained = DataInfo.from_dict(run.read()["data"])
    return dataset.with_info(replace(dataset.info, mean=trained.mean, std=trained.std))


def _same_settings(run: Run, config: TrainConfig) -> None:
    there, here = asdict(TrainConfig()) | run.read()["config"], asdict(config)
    different = [f"{k} {there.get(k)!r} there, {here[k]!r} here" for k in here if there.get(k) != here[k]]
    if different:
        raise UsageError(
            f"{run.path} holds a run with other settings ({'; '.join(different)}); "
            "give another --out, or the same settings to go on"
        )


def _same_data(run: Run, dataset: Dataset) -> None:
    trained = DataInfo.from_dict(run.read()["data"])
    check_compatible(trained, dataset.info)
    if trained.fingerprint != dataset.info.fingerprint:
        raise UserError(
            f"the images of '{dataset.info.source}' changed since {run.path} began, so its splits would mix; "
            "restore them, or train a new supernet with another --out"
        )


@dataclass(frozen=True)
class Trained:
    """A trained run, opened: what search, export and evaluate start from.

    Attributes:
        weights: hash of the supernet's file.
        calibration_images: what candidates are calibrated on. Another number makes other networks, so accuracies at
            each number are kept apart.
    """

    run: Run
    space: SearchSpace
    net: Supernet
    dataset: Dataset
    weights: str
    calibration_images: int = CALIBRATION_IMAGES

    @cached_property
    def calibration(self) -> Calibration:
        """Of this supernet, shared by all its measurements."""
        return Calibration(self.calibration_images)

    def costs(self, target: Target, precision: str, others: tuple[Target, ...] = ()) -> CandidateCosts:
        info = self.dataset.info
        tables = CostTables(self.space, len(info.classes), info.in_chans)
        return CandidateCosts(self.space, tables, target, precision, others)

    def journal(self, storage: str | None = None) -> Journal:
        """Accuracies of candidates calibrated on ``calibration_images``.

        Args:
            storage: URL of a database that other machines reach; it learns what the run knows. None: the run's own.
        """
        path = self.run.journal
        own = Journal(path.with_stem(self.named(path.stem)), self.space, self.weights)
        if storage is None:
            return own
        shared = Journal(storage, self.space, self.weights, self.named(study_name(self.space, self.weights)))
        shared.learn(own)
        return shared

    def own(self, architecture: Architecture) -> Architecture:
        """An architecture in its canonical form. Raises UserError: it is of another space, or means nothing."""
        if architecture.space != self.space.name:
            raise UserError(
                f"the architecture is of space '{architecture.space}', {self.run.path} is a supernet of "
                f"'{self.space.name}'; give a candidate of this run, or the run of that space (--run)"
            )
        return self.space.decode(self.space.encode(architecture))

    def named(self, name: str) -> str:
        """The name under which a measurement is kept: with the calibration images where they are not the usual."""
        images = self.calibration_images
        return name if images == CALIBRATION_IMAGES else f"{name}-{images}-images"


def open_trained(run: Run, calibration_images: int = CALIBRATION_IMAGES) -> Trained:
    """Open a trained run with its data set.

    Raises:
        UsageError: too few calibration images.
        UserError: not trained to the end, or the data set is not the one it was trained on.
    """
    check_images(calibration_images)
    content = run.read()
    if "finetuned_from" in content:
        raise UserError(f"{run.path} is one fine-tuned candidate, not a supernet; give the run that it lies in (--run)")
    config = config_of(run)
    net = load_supernet(run)
    dataset = open_dataset(config.source, config.seed, config.root)
    _same_data(run, dataset)
    return Trained(run, net.space, net, _as_trained(run, dataset), file_hash(run.supernet), calibration_images)


def run_search(
    run: Run, config: SearchConfig, report: Report = silent, dry_run: bool = False, storage: str | None = None
) -> dict[str, Any]:
    """Search a trained run for a target; the result is kept as ``search-<target>.json``, its predictor beside it.

    Processes that call this with the same arguments share the work: those of one run directory, and with ``storage``
    those of copies of it on other machines.

    Args:
        report: called after each measurement.
        dry_run: check everything, and return a ``summary`` of what would be done.
        storage: URL of the database that the workers share; None: the journal in the run directory.

    Raises:
        UsageError: a search that means nothing (see :func:`nas.search.search.check_config`), or no URL of a database.
    """
    check_config(config)
    if storage is not None:
        check_url(storage)
    target = load_target(config.target)
    config = replace(config, target=target.name, precision=",".join(target.menu(config.precision or None)))
    config, others = with_others(config)
    with run.joined():
        trained = open_trained(run, config.calibration_images)
        costs = trained.costs(target, config.precision, others)
        costs.feasible_start(config.bounds)
        if dry_run:
            summary = (
                f"would measure {config.measurements} subnets ({config.precision}) for {target.name} in {run.path}"
            )
            return {"summary": summary, "measurements": config.measurements}
        journal = trained.journal(storage)

        def measure_one(candidate: Candidate, split: str) -> Accuracy:
            return measure(trained.net, trained.dataset, candidate, split, trained.calibration)

        def keep(predictor: AccuracyPredictor) -> None:
            atomic_write(run.predictor(target.name), to_bytes(predictor, trained.space.name))

        result = search(costs, config, journal, measure_one, report, keep)
        result["weights"] = trained.weights
        result["memory"] = target.memory
        result["versions"] = versions()
        if storage is not None:
            trained.journal().learn(journal)
        # seconds differ between two runs of the same search; its file does not
        write_json(run.search(target.name), {key: value for key, value in result.items() if key != "seconds"})
    return result


def test_accuracy(trained: Trained, candidate: Candidate) -> Accuracy:
    """Accuracy on the test split; measured once, then remembered in the run."""
    return _recalled(trained, candidate, TEST)


def _recalled(trained: Trained, candidate: Candidate, split: str) -> Accuracy:
    """Accuracy on a split that the journal keeps; measured once."""
    return trained.journal().recall(
        candidate, lambda c: measure(trained.net, trained.dataset, c, split, trained.calibration), "evaluate", split
    )


def find_search(run: Run, target: str | None = None) -> dict[str, Any]:
    """The result of the last search, or of the one for ``target``.

    Raises:
        UserError: there is none.
    """
    if target is not None:
        paths = [run.search(load_target(target).name)]
    else:
        paths = sorted(run.searches().values(), key=lambda p: p.stat().st_mtime)
    if not paths or not paths[-1].exists():
        of, flag = ("", "") if target is None else (f" for {target}", f" --target {target}")
        raise UserError(f"{run.path} has no finished search{of}; start one: nas search --run {run.path}{flag}")
    result: dict[str, Any] = read_json(paths[-1], SEARCH_RESULT)
    return result


def pick_member(result: dict[str, Any], name: str = "best") -> dict[str, Any]:
    """A member of a front by id (or its beginning), or ``best`` (most accurate), ``fastest``, ``smallest``.

    Raises:
        UserError: the front is empty, or has no such member.
    """
    front = result["front"]
    if not front:
        raise UserError("the front of this search is empty; search again: nas search")
    if name == "best":
        return max(front, key=lambda m: m["accuracy"]["value"])
    if name in ("fastest", "smallest"):
        return min(front, key=lambda m: m["latency_ms" if name == "fastest" else "size_bytes"])
    found = [m for m in front if m["id"].startswith(name)]
    if len(found) != 1:
        raise UsageError(f"candidate '{name}' is not on the front; there are: {', '.join(m['id'] for m in front)}")
    member: dict[str, Any] = found[0]
    return member


def ship_member(run: Run, name: str = "best", target: str | None = None) -> Shipped:
    """A member of a front as it is shipped: its timm model, and the function whose accuracy was measured.

    Args:
        name: as in :func:`pick_member`.
        target: whose front; None: the last search's.

    Raises:
        UserError: there is no such search or member, or the weights changed since.
    """
    result = find_search(run, target)
    member = pick_member(result, name)
    trained = open_trained(run, calibrated_on(result))
    same_weights(trained, result)
    candidate = Candidate.from_dict(member)
    return ship(trained.net, trained.dataset, candidate, trained.calibration)


def run_export(
    run: Run, target: str | None = None, name: str = "best", out: Path | None = None, formats: str | None = None,
    license: str | None = None,
) -> list[tuple[Path, dict[str, Any]]]:  # fmt: skip
    """Export one member of a front, or ``all``; returns folders with the content of their ``architecture.json``.

    Args:
        formats: names of formats, separated by commas; None: the target's.
        license: of the weights, by the hub's name, for card and ``config.json``; None: nobody states one.
    """
    from nas.export.folder import export_candidate
    from nas.export.hub import check_license
    from nas.runtimes.table import parse_formats

    check_license(license)
    check_folder(out)
    result = find_search(run, target)
    device = load_target(result["config"]["target"])
    forms = parse_formats(formats, device.model)
    members = result["front"] if name == "all" else [pick_member(result, name)]
    with run.locked():
        trained = open_trained(run, calibrated_on(result))
        same_weights(trained, result)
        written = []
        for member in members:
            folder = run.export(f"{device.name}-{member['id']}")
            if out is not None:
                folder = out / member["id"] if name == "all" else out
            written.append((folder, export_candidate(trained, member, device, folder, formats=forms, license=license)))
    return written


def calibrated_on(result: dict[str, Any]) -> int:
    """Images that the candidates of a search were calibrated on."""
    images: int = result["config"].get("calibration_images", CALIBRATION_IMAGES)
    return images


def same_weights(trained: Trained, result: dict[str, Any]) -> None:
    """Refuse the result of a search on other weights. Raises UserError."""
    if result["weights"] != trained.weights:
        raise UserError(f"{trained.run.supernet} changed since the search; search again: nas search")


def run_evaluate(
    run: Run, model: str = "best", split: str = TEST, precision: str = "int8", calibration_images: int | None = None
) -> dict[str, Any]:
    """Accuracy of an exported folder or file, a member of the last front, or an architecture, on a split.

    A file's is measured in its own runtime, together with its latency on one thread of this machine.

    Args:
        calibration_images: None: the search's for a member of its front, else :data:`CALIBRATION_IMAGES`.

    Raises:
        UsageError: unknown split, precision or stage, or ``model`` is none of these.
        UserError: the file was exported from another run, or is not what was exported.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    policy = parse_policy(precision)
    from nas.export.manifest import exported_file

    path = Path(model)
    with run.locked():
        trained = open_trained(run)
        if not is_json(model) and (file := exported_file(path)) is not None:
            if calibration_images is not None:
                raise UsageError("--calibration-images: an exported file is calibrated already; leave it out")
            return {"what": str(file), "split": split, **_run_exported(trained, file, split)}
        if path.suffix == ".json" or is_json(model):
            check_stages(policy, (s.path for s in trained.space.segments), trained.space.name)
            candidate = Candidate(trained.own(parse_architecture(model)), str(policy))
        elif path.exists():
            raise UserError(f"{path} is no exported folder or file; give one, a candidate, or an architecture")
        else:
            result = find_search(run, None)
            member = pick_member(result, model)
            candidate = Candidate.from_dict(member)
            if calibration_images is None:
                calibration_images = calibrated_on(result)
        if calibration_images is not None:
            check_images(calibration_images)
            trained = replace(trained, calibration_images=calibration_images)
        found = _measured(trained, candidate, split)
        return {"what": candidate.id, "split": split, **accuracy_dict(found)}


def _run_exported(trained: Trained, file: Path, split: str) -> dict[str, Any]:
    from nas.export.folder import check_images_of, run_file
    from nas.export.manifest import input_size, open_model
    from nas.runtimes.timing import latency_ms

    if not file.exists():
        raise UserError(f"{file} does not exist")
    opened = open_model(file)
    shape = input_size(opened, file)
    check_images_of(trained, opened, file)
    return {
        **accuracy_dict(run_file(opened, trained.dataset, split, shape[-1])),
        "latency_ms": latency_ms(opened, shape),
    }


def _measured(trained: Trained, candidate: Candidate, split: str) -> Accuracy:
    """Measure, or recall what the run already knows."""
    if split in (SEARCH, TEST):
        return _recalled(trained, candidate, split)
    return measure(trained.net, trained.dataset, candidate, split, trained.calibration)


def parse_architecture(text: str) -> Architecture:
    """An architecture from JSON text or a file that holds it, as in ``architecture.json``.

    Raises:
        UserError: neither.
    """
    path = Path(text)
    try:
        content = json.loads(text) if is_json(text) else read_json(path, {})
        return Architecture.from_dict(content.get("architecture", content))
    except (ValueError, AttributeError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"'{text[:200]}' is no architecture: {str(error)[:200]}") from None
