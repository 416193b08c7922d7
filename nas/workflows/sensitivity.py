"""Where the accuracy of a trained run goes: one gene down at a time, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.candidates.candidate import Candidate
from nas.candidates.sensitivity import take_down
from nas.candidates.ship import measure
from nas.events import Advanced, Listener, ignore
from nas.journal.journal import SEARCH
from nas.search.objectives import LATENCY
from nas.search.outcome import record_accuracy
from nas.store.files import NewerFormat, read_record, write_json
from nas.store.results import AccuracyRecord
from nas.store.run import Run
from nas.store.sensitivity import Lowered, MeasuredSubnet, Sensitivity
from nas.store.versions import versions
from nas.training.weights import EVALUATED
from predictors.costs.network import total_macs
from predictors.costs.tables import CostTables
from predictors.targets.target import Target, load_target
from search_spaces.architecture import Architecture
from search_spaces.errors import UserError
from search_spaces.policy import FLOAT
from search_spaces.schema import to_json

from .trained import Trained, open_trained

Known = Mapping[tuple[str, float], AccuracyRecord]
"""Accuracies by gene and choice."""

_LARGEST = ("", 0)


def measure_sensitivity(
    run: Run, target: str | None = None, images: int = EVALUATED, report: Listener = ignore
) -> Sensitivity:
    """Accuracy of the largest subnet with every gene taken down to each of its smaller choices, everything else whole.

    Each subnet is extracted, its batch norm is calibrated, and it is measured in fp32; nothing is trained. The result
    is kept as ``sensitivity.json`` after every subnet; what it holds of the same weights and images isn't measured
    again.

    Args:
        run: a trained run; other processes may work on it meanwhile.
        target: device whose latencies, in its default precision, stand beside the accuracies; None: none.
        images: of the search split at most, the first ones, which are a stratified sample.

    Raises:
        UsageError: there is no such target.
        UserError: the run isn't trained to the end, or its data set is another one.
    """
    device = None if target is None else load_target(target)
    with run.joined():
        trained = open_trained(run)
        images = min(images, trained.dataset.info.counts[SEARCH])
        known = _read_known(trained, images)
        largest, steps = trained.space.largest, list(take_down(trained.space))
        whole, *costs = _costs(trained, [largest, *(step.architecture for step in steps)], device)
        accuracy = known.get(_LARGEST) or _measure(trained, largest, images)
        found = Sensitivity(
            weights=trained.weights, calibration_images=trained.calibration_images, complete=not steps,
            target=None if device is None else f"{device.name}, {device.default_precision}",
            largest=MeasuredSubnet(accuracy=accuracy, macs=whole[0], latency_ms=whole[1]), versions=versions(),
        )  # fmt: skip
        for done, (step, (macs, ms)) in enumerate(zip(steps, costs, strict=True), start=1):
            there = known.get((step.gene, step.choice))
            accuracy = there or _measure(trained, step.architecture, images)
            lost = found.largest.accuracy.value - accuracy.value
            row = Lowered(
                gene=step.gene, largest=step.largest, choice=step.choice, accuracy=accuracy, lost=lost, macs=macs,
                latency_ms=ms,
            )  # fmt: skip
            found = found.with_row(row, complete=done == len(steps))
            if there is None or found.complete:
                write_json(run.sensitivity, to_json(found))
            report(Advanced("genes down", done, len(steps), f"{step.gene} {step.choice}: {-100 * lost:+.1f} points"))
        if not steps:
            write_json(run.sensitivity, to_json(found))
    return found


def _measure(trained: Trained, architecture: Architecture, images: int) -> AccuracyRecord:
    candidate = Candidate(architecture, FLOAT)
    return record_accuracy(measure(trained.net, trained.dataset, candidate, SEARCH, trained.calibration, images))


def _read_known(trained: Trained, images: int) -> Known:
    """What was measured before of these weights, on as many images; nothing where the file is of others, or damaged.
    Raises UserError: it is of a later version."""
    try:
        kept = read_record(trained.run.sensitivity, Sensitivity)
    except NewerFormat:
        raise
    except UserError:
        return {}
    wanted = (trained.weights, trained.calibration_images, images)
    if (kept.weights, kept.calibration_images, kept.images) != wanted:
        return {}
    return {(row.gene, row.choice): row.accuracy for row in kept.rows} | {_LARGEST: kept.largest.accuracy}


def _costs(
    trained: Trained, architectures: Sequence[Architecture], device: Target | None
) -> list[tuple[int, float | None]]:
    """MACs and milliseconds of each."""
    vectors = trained.space.encode_many(list(architectures))
    macs = total_macs(CostTables(trained.space, trained.dataset.interface).features(vectors))
    if device is None:
        return [(int(each), None) for each in macs]
    ms = trained.costs(device, device.default_precision).column(LATENCY.name, vectors)
    return [(int(each), float(time)) for each, time in zip(macs, ms, strict=True)]
