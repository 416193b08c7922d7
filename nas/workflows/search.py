"""Search a trained run for a target."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.events import Listener, Warned, ignore
from nas.journal.journal import Journal
from nas.journal.storage import check_url
from nas.runtimes.table import check_packages, parse_formats
from nas.search.config import SearchConfig, check_config, with_others
from nas.search.search import search
from nas.store.files import atomic_write, write_json
from nas.store.results import Memory, SearchResult
from nas.store.run import Run
from nas.store.versions import versions
from nas.tasks.task import Score
from nas.training.quantized import check_quantizable
from predictors.accuracy.predictor import AccuracyPredictor, to_bytes
from predictors.targets.target import load_target
from search_spaces.errors import UserError
from search_spaces.policy import FLOAT
from search_spaces.schema import convert, to_json

from .trained import open_trained
from .whole import measure_whole


@dataclass(frozen=True)
class SearchPlan:
    """What a search would do, in words, and how many subnets it would measure."""

    summary: str
    measurements: int


def search_run(
    run: Run, config: SearchConfig, report: Listener = ignore, dry_run: bool = False, storage: str | None = None
) -> SearchResult | SearchPlan:
    """Search a trained run for a target; the result is kept as ``search-<target>.json``, its predictor beside it.

    Processes that call this with the same arguments share the work: those of one run directory, and with ``storage``,
    the URL of a database, those of copies of it on other machines. With ``dry_run`` all is checked, and what would be
    done is returned. Raises UsageError: a search that means nothing (see :func:`nas.search.config.check_config`), or no
    URL of a database.
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
        journal = None if dry_run else trained.journal(storage)
        if set(config.precision.split(",")) != {FLOAT} and not _has_quantized(journal):
            check_quantizable(trained.space, "precision")
        try:
            check_packages(parse_formats(None, target.model))
        except UserError as error:
            report(Warned(f"to export for {target.name} later: {error}"))
        for idle in costs.idle_bounds(config.bounds):
            report(Warned(idle))
        if journal is None:
            within = f", within {words}" if (words := config.bounds.in_words()) else ""
            summary = (
                f"would measure {config.measurements} subnets ({config.precision}) for {target.name} in {run.path}"
                f"{within}"
            )
            return SearchPlan(summary, config.measurements)

        def measure_one(candidate: Candidate, split: str) -> Score:
            return measure(trained.net, trained.dataset, candidate, split, trained.calibration)

        def keep(predictor: AccuracyPredictor) -> None:
            atomic_write(run.predictor(target.name), to_bytes(predictor, trained.space.name))

        found = search(costs, config, journal, measure_one, report, keep)
        result = replace(
            found, weights=trained.weights, memory=convert(target.memory, Memory), versions=versions(),
            whole=measure_whole(trained, costs, report) or None,
        )  # fmt: skip
        if storage is not None:
            trained.journal().learn(journal)
        # seconds differ between two runs of the same search; its file does not
        write_json(run.search(target.name), to_json(replace(result, seconds=None)))
    return result


def _has_quantized(journal: Journal | None) -> bool:
    """Whether a quantized network of the space was measured: then all can be, and no network has to be captured."""
    return journal is not None and any(candidate.precision != FLOAT for candidate, _ in journal.items())
