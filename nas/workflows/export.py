"""Members of a front as they are shipped."""

from __future__ import annotations

from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.candidates.ship import Shipped, ship
from nas.export.card import first_weights
from nas.export.folder import Finetuned, Source, export_candidate
from nas.export.hub import check_license
from nas.runtimes.table import parse_formats
from nas.store.exports import Manifest
from nas.store.files import check_folder
from nas.store.run import Run
from nas.training.weights import config_of
from predictors.targets.target import load_target

from .resolve import pick_member, read_search
from .trained import Trained, open_trained, same_weights


def ship_member(run: Run, name: str = "best", target: str | None = None) -> Shipped:
    """A member of a front, as of :func:`pick_member`, as it is shipped: its timm model, and the function whose
    accuracy was measured. Raises UserError: there is no such search or member, or the weights changed since."""
    result = read_search(run, target)
    member = pick_member(result, name)
    trained = open_trained(run, result.settings.calibration_images)
    same_weights(trained, result)
    candidate = Candidate(member.architecture, member.precision)
    return ship(trained.net, trained.dataset, candidate, trained.calibration)


def export_model(
    run: Run, target: str | None = None, name: str = "best", out: Path | None = None, formats: str | None = None,
    license: str | None = None,
) -> list[tuple[Path, Manifest]]:  # fmt: skip
    """Export one member of a front, or ``all``; returns folders with what their ``architecture.json`` says.

    Args:
        formats: names of formats, separated by commas; None: the target's.
        license: of the weights, by the hub's name, for card and ``config.json``; None: nobody states one.
    """
    check_license(license)
    check_folder(out)
    result = read_search(run, target)
    device = load_target(result.settings.target)
    forms = parse_formats(formats, device.model)
    members = result.front if name == "all" else [pick_member(result, name)]
    with run.locked():
        trained = open_trained(run, result.settings.calibration_images)
        same_weights(trained, result)
        source = export_source(trained)
        written = []
        for member in members:
            folder = run.export(f"{device.name}-{member.id}")
            if out is not None:
                folder = out / member.id if name == "all" else out
            written.append((folder, export_candidate(source, member, device, folder, forms, license)))
    return written


def export_source(trained: Trained, finetuned: Finetuned | None = None) -> Source:
    """What candidates are exported from: a run of a supernet, or with ``finetuned`` a fine-tuned candidate, which
    lies in ``finetune/`` of a supernet's."""
    supernet = trained.run if finetuned is None else Run(trained.run.path.parents[1])
    first = first_weights(config_of(supernet))
    seed = config_of(trained.run).seed
    return Source(trained.net, trained.dataset, trained.calibration, trained.weights, seed, first, finetuned)
