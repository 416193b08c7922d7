"""Accuracy of an exported file, a candidate or an architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nas.candidates.calibrate import check_images
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.export.folder import check_images_of, run_file
from nas.export.manifest import exported_file, input_size, open_model
from nas.journal.journal import SEARCH, TEST
from nas.runtimes.timing import latency_ms
from nas.search.outcome import record_accuracy
from nas.store.files import is_json
from nas.store.records import SPLITS
from nas.store.run import Run
from nas.tasks.task import Score
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.policy import check_stages, parse_policy

from .resolve import read_candidate
from .trained import Trained, open_trained


@dataclass(frozen=True)
class Evaluation:
    """How well a network does on a whole split.

    Attributes:
        what: the file, or the candidate's id.
        recalled: whether the run had measured it before, so that nothing was measured now.
        latency_ms: of a file: milliseconds of one inference, on one thread of this machine.
    """

    what: str
    split: str
    score: Score
    recalled: bool = False
    latency_ms: float | None = None

    def to_json(self) -> object:
        """As ``nas evaluate --json`` prints it."""
        facts = {"what": self.what, "split": self.split, **vars(record_accuracy(self.score)), "recalled": self.recalled}
        return facts if self.latency_ms is None else facts | {"latency_ms": self.latency_ms}


def evaluate_model(
    run: Run, model: str = "best", split: str = TEST, precision: str = "int8", calibration_images: int | None = None,
    again: bool = False,
) -> Evaluation:  # fmt: skip
    """Accuracy of an exported folder or file, a member of the last front, or an architecture, on a split.

    A file's is measured in its own runtime, together with its latency on one thread of this machine.

    Args:
        run: a trained run; other processes may work on it meanwhile.
        model: an exported folder or file, or as :func:`nas.workflows.resolve.read_candidate` takes it.
        split: ``search``, ``test`` or ``train``.
        precision: policy of an architecture.
        calibration_images: None: the search's for a member of its front, else :data:`CALIBRATION_IMAGES`.
        again: measure what the run has measured before, too.

    Raises:
        UsageError: unknown split, precision or stage, or ``model`` is none of these.
        UserError: the file was exported from another run, or isn't what was exported.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    policy = parse_policy(precision)
    trained = open_trained(run)
    if not is_json(model) and (file := exported_file(Path(model))) is not None:
        if calibration_images is not None:
            raise UsageError("`calibration_images`: an exported file is calibrated already; leave it out")
        return _run_exported(trained, file, split)
    if not is_json(model) and Path(model).suffix != ".json" and Path(model).exists():
        raise UserError(f"{model} is not an exported folder or file; give one, a candidate, or an architecture")
    chosen = read_candidate(run, model)
    if chosen.search is None:
        check_stages(policy, (s.path for s in trained.space.segments), trained.space.name)
    elif calibration_images is None:
        calibration_images = chosen.search.settings.calibration_images
    candidate = Candidate(trained.own(chosen.architecture), chosen.precision or str(policy))
    if calibration_images is not None:
        check_images(calibration_images)
        trained = replace(trained, calibration_images=calibration_images)
    if again or split not in (SEARCH, TEST):  # the journal keeps no others
        score = measure(trained.net, trained.dataset, candidate, split, trained.calibration)
        return Evaluation(candidate.id, split, score)
    score, recalled = trained.recall(candidate, split)
    return Evaluation(candidate.id, split, score, recalled)


def _run_exported(trained: Trained, file: Path, split: str) -> Evaluation:
    if not file.exists():
        raise UserError(f"{file} does not exist")
    model = open_model(file)
    shape = input_size(model, file)
    check_images_of(trained.dataset.info, trained.run.path, model, file)
    score = run_file(model, trained.dataset, split, shape[-1])
    return Evaluation(str(file), split, score, latency_ms=latency_ms(model, shape))
