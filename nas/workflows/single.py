"""A training of one network as a run of its own, inside another run; when a training is done, and what it leaves."""

from __future__ import annotations

from dataclasses import asdict, replace

from nas.data.dataset import Dataset
from nas.events import Listener, Started
from nas.store.records import RunRecord
from nas.store.run import Run, file_hash
from nas.store.versions import versions
from nas.training.config import Resources, TrainConfig, total_steps
from nas.training.loop import Curriculum, train


def is_trained(run: Run) -> bool:
    """Whether a run is trained to its end, and its weights are those that it ended with."""
    record = run.read() if run.exists else None
    return (
        record is not None and record.complete and run.supernet.exists() and file_hash(run.supernet) == record.weights
    )


def mark_trained(run: Run, steps: int) -> None:
    """Note in the run's record that its weights are written, after so many steps."""
    weights = file_hash(run.supernet)
    run.write(replace(run.read(), complete=True, weights=weights, steps=steps, versions=versions()))


def drop_states(run: Run) -> None:
    """Remove the states of a finished training: they are several times the size of its weights, which are there."""
    for state in (run.checkpoint, run.previous):
        state.unlink(missing_ok=True)


def train_single(
    run: Run, settings: TrainConfig, dataset: Dataset, trained_from: str, resources: Resources, report: Listener,
    curriculum: Curriculum,
) -> None:  # fmt: skip
    """Begin or continue a run that trains one network, to its end.

    Args:
        trained_from: hash of the weights that it starts from.

    Raises:
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    info = dataset.info
    if not run.exists:
        run.path.mkdir(parents=True, exist_ok=True)
        run.write(RunRecord(
            config=asdict(settings), data=info, versions=versions(), complete=False, finetuned_from=trained_from
        ))  # fmt: skip
    steps = total_steps(settings, info.train_images)
    report(Started(str(run.path), steps, info.source))
    train(run, settings, dataset, resources, report, curriculum)
    mark_trained(run, steps)
