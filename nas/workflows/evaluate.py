"""Accuracy of an exported file, a candidate or an architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.candidates.calibrate import check_images
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.data.dataset import SPLITS
from nas.journal.journal import SEARCH, TEST
from nas.search.search import accuracy_dict
from nas.store.files import is_json
from nas.store.run import Run
from nas.tasks.score import Score
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.policy import check_stages, parse_policy

from .resolve import calibrated_on, read_candidate
from .trained import Trained, open_trained, recalled


def evaluate_model(
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

    with run.joined():
        trained = open_trained(run)
        if not is_json(model) and (file := exported_file(Path(model))) is not None:
            if calibration_images is not None:
                raise UsageError("`calibration_images`: an exported file is calibrated already; leave it out")
            return {"what": str(file), "split": split, **_run_exported(trained, file, split)}
        chosen = read_candidate(run, model)
        if chosen.search is None:
            check_stages(policy, (s.path for s in trained.space.segments), trained.space.name)
        elif calibration_images is None:
            calibration_images = calibrated_on(chosen.search)
        candidate = Candidate(trained.own(chosen.architecture), chosen.precision or str(policy))
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
    check_images_of(trained.dataset.info, trained.run.path, opened, file)
    return {
        **accuracy_dict(run_file(opened, trained.dataset, split, shape[-1])),
        "latency_ms": latency_ms(opened, shape),
    }


def _measured(trained: Trained, candidate: Candidate, split: str) -> Score:
    """Measure, or recall what the run already knows."""
    if split in (SEARCH, TEST):
        return recalled(trained, candidate, split)
    return measure(trained.net, trained.dataset, candidate, split, trained.calibration)
