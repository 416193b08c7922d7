"""A trained run, opened: what search, export and evaluate start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from nas.candidates.calibrate import Calibration, check_images
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.data.dataset import Dataset, check_compatible
from nas.data.opening import open_dataset
from nas.journal.journal import Journal, study_name
from nas.search.costs import CandidateCosts
from nas.store.records import FIRST_RULES, RULES, DataInfo
from nas.store.results import CALIBRATION_IMAGES, SearchResult
from nas.store.run import Run, file_hash
from nas.supernet.supernet import Supernet
from nas.tasks.task import Score
from nas.training.config import TrainConfig
from nas.training.weights import load_supernet, parse_config
from predictors.costs.tables import CostTables
from predictors.targets.target import Target
from search_spaces import SearchSpace
from search_spaces.architecture import Architecture
from search_spaces.errors import UserError


@dataclass(frozen=True)
class Trained:
    """A trained run, opened; ``weights``: hash of the supernet's file; ``rules``: of quantization.

    Candidates calibrated on another number of images are other networks, so accuracies at each number are kept apart.
    """

    run: Run
    space: SearchSpace
    net: Supernet
    dataset: Dataset
    weights: str
    calibration_images: int = CALIBRATION_IMAGES
    rules: int = RULES

    @cached_property
    def calibration(self) -> Calibration:
        """Of this supernet, shared by all its measurements."""
        return Calibration(self.calibration_images, self.rules)

    def costs(self, target: Target, precision: str, others: tuple[Target, ...] = ()) -> CandidateCosts:
        tables = CostTables(self.space, self.dataset.interface)
        return CandidateCosts(self.space, tables, target, precision, others)

    def journal(self, storage: str | None = None) -> Journal:
        """Accuracies of candidates calibrated on ``calibration_images``. ``storage``: URL of a database that other
        machines reach; it learns what the run knows. None: the run's own."""
        if storage is None:
            return self._journal
        name = self.named(study_name(self.space, self.weights))
        if self.rules != FIRST_RULES:  # equal weights of an older run become other integers
            name += f"-rules-{self.rules}"
        shared = Journal(storage, self.space, self.weights, name, task=self.dataset.info.task)
        shared.learn(self._journal)
        return shared

    @cached_property
    def _journal(self) -> Journal:
        path = self.run.journal
        return Journal(path.with_stem(self.named(path.stem)), self.space, self.weights, task=self.dataset.info.task)

    def recall(self, candidate: Candidate, split: str) -> tuple[Score, bool]:
        """Score of a candidate as it is shipped on the ``search`` or the ``test`` split, which is measured once and
        then kept in the journal; and whether it was there before."""
        there = True

        def measure_now(candidate: Candidate) -> Score:
            nonlocal there
            there = False
            return measure(self.net, self.dataset, candidate, split, self.calibration)

        score = self.journal().recall(candidate, measure_now, "evaluate", split)
        return score, there

    def own(self, architecture: Architecture) -> Architecture:
        """An architecture in its canonical form. Raises UserError: it is of another space, or means nothing."""
        if architecture.space != self.space.name:
            raise UserError(
                f"the architecture is of space '{architecture.space}', {self.run.path} is a supernet of "
                f"'{self.space.name}'; give a candidate of this run, or the run of that space (`run`)"
            )
        return self.space.decode(self.space.encode(architecture))

    def named(self, name: str) -> str:
        """The name under which a measurement is kept: with the calibration images where they are not the usual."""
        images = self.calibration_images
        return name if images == CALIBRATION_IMAGES else f"{name}-{images}-images"


def open_trained(run: Run, calibration_images: int = CALIBRATION_IMAGES) -> Trained:
    """Open a trained run with its data set. Raises UsageError: too few calibration images; UserError: not trained to
    the end, or the data set is not the one it was trained on."""
    check_images(calibration_images)
    record = run.read()
    if record.finetuned_from is not None:
        raise UserError(f"{run.path} is a fine-tuning, not a supernet; give the run that it lies in (`run`)")
    rules = FIRST_RULES if record.rules is None else record.rules
    if not FIRST_RULES <= rules <= RULES:
        raise UserError(
            f"{run.path} was trained by a later version of nas: its candidates become integers by rules {rules}, and "
            f"this version knows those up to {RULES}; update nas"
        )
    config = parse_config(record, run.config)
    net = load_supernet(run)
    dataset = open_as(config, record.data)
    check_same_data(run, record.data, dataset)
    data, weights = as_trained(record.data, dataset), file_hash(run.supernet)
    return Trained(run, net.space, net, data, weights, calibration_images, rules)


def open_as(config: TrainConfig, trained: DataInfo | None) -> Dataset:
    """The data set of a run, read as it was when the run began; ``trained``: what it remembers of it."""
    return open_dataset(config.source, config.seed, config.root, layout=config.layout, trained=trained)


def as_trained(trained: DataInfo, dataset: Dataset) -> Dataset:
    """The data set, with the normalisation and the names of the classes that it had when its run began."""
    info = replace(dataset.info, classes=trained.classes, mean=trained.mean, std=trained.std)
    return replace(dataset, info=info)


def check_same_data(run: Run, trained: DataInfo, dataset: Dataset) -> None:
    """Refuse other images than those that a run was trained on. Raises UserError."""
    check_compatible(trained, dataset.info)
    if trained.fingerprint != dataset.info.fingerprint:
        raise UserError(
            f"the images of '{dataset.info.source}' changed since {run.path} began, so its splits would mix; "
            "restore them, or train a new supernet in another directory"
        )
    if trained.content != dataset.info.content:
        raise UserError(
            f"files of '{dataset.info.source}' changed since {run.path} began, though their names are the same; "
            "restore them, or train a new supernet in another directory"
        )


def same_weights(trained: Trained, result: SearchResult) -> None:
    """Refuse the result of a search on other weights. Raises UserError."""
    if result.weights != trained.weights:
        raise UserError(f"{trained.run.supernet} changed since the search; search again: nas search")
