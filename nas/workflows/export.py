"""Members of fronts as they are shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas.candidates.candidate import Candidate
from nas.candidates.ship import Shipped, ship
from nas.export.card import first_weights
from nas.export.folder import Finetuned, Source, export_candidate
from nas.export.hub import check_license
from nas.runtimes.table import check_packages, parse_formats
from nas.store.exports import Manifest
from nas.store.files import check_folder
from nas.store.hints import hint
from nas.store.results import Member, SearchResult
from nas.store.run import Run, file_hash
from nas.store.tuned import TunedMember, read_tuned, with_tuned
from nas.training.weights import config_of, load_supernet
from predictors.targets.target import Target, load_target
from search_spaces.errors import UserError

from .describe import ALL
from .resolve import pick_member, read_search
from .trained import Trained, open_trained, same_weights

Exported = tuple[Path, Manifest]
"""A folder with what its ``architecture.json`` says."""


def ship_member(run: Run, name: str = "best", target: str | None = None, tuned: bool = True) -> Shipped:
    """A member of a front, as of :func:`pick_member`, as it is shipped: its timm model, and the function whose
    accuracy was measured; ``tuned`` as in :func:`export_model`. Raises UserError: there is no such search or member, or
    the weights changed since."""
    result, kept = _shipped_front(run, target, tuned)
    member = pick_member(result, name)
    trained = open_trained(run, result.settings.calibration_images)
    same_weights(trained, result)
    if member.id in kept:
        trained = _open_tuned(trained, kept[member.id])
    candidate = Candidate(member.architecture, member.precision)
    return ship(trained.net, trained.dataset, candidate, trained.calibration)


def export_model(
    run: Run, target: str | None = None, name: str = "best", out: Path | None = None, formats: str | None = None,
    license: str | None = None, tuned: bool = True,
) -> list[Exported]:  # fmt: skip
    """Export one member of a front, or ``all``; returns folders with what their ``architecture.json`` says.

    Args:
        formats: names of formats, separated by commas; None: the target's.
        license: of the weights, by the hub's name, for card and ``config.json``; None: nobody states one.
        tuned: with fine-tuned weights where the front was fine-tuned and they were kept; they count in what ``best``
            is, too.
    """
    check_license(license)
    check_folder(out)
    result, kept = _shipped_front(run, target, tuned)
    device = load_target(result.settings.target)
    forms = parse_formats(formats, device.model)
    check_packages(forms)
    members = result.front if name == ALL else [pick_member(result, name)]
    with run.locked():
        trained = open_trained(run, result.settings.calibration_images)
        same_weights(trained, result)
        folders = [out / member.id if out and name == ALL else out for member in members]
        return export_members(trained, members, kept, device, folders, forms if formats else None, license)


def export_members(
    trained: Trained, members: Sequence[Member], kept: Mapping[str, TunedMember], device: Target,
    folders: Sequence[Path | None], formats: Sequence[str] | None = None, license: str | None = None,
) -> list[Exported]:  # fmt: skip
    """Export members of a front of a run that is locked, those of ``kept`` with their fine-tuned weights; a folder that
    is None is the run's own for that member."""
    source, written = export_source(trained), []
    for member, folder in zip(members, folders, strict=True):
        own = source
        if member.id in kept:
            tuned = kept[member.id]
            own = export_source(_open_tuned(trained, tuned), Finetuned(tuned.before, tuned.origin))
        place = folder or trained.run.export(f"{device.name}-{member.id}")
        written.append((place, export_candidate(own, member, device, place, formats, license)))
    return written


def _shipped_front(run: Run, target: str | None, tuned: bool) -> tuple[SearchResult, dict[str, TunedMember]]:
    """The last search, or the one for a target, with its front as it is shipped, and what of that is fine-tuned."""
    result = read_search(run, target)
    if not tuned:
        return result, {}
    kept = read_tuned(run, result).kept_of(result)
    return with_tuned(result, kept), kept


def _open_tuned(trained: Trained, member: TunedMember) -> Trained:
    """What a member was fine-tuned in. Raises UserError: its weights are gone, or others."""
    sub = trained.run.finetune(member.folder)
    if not sub.supernet.exists() or file_hash(sub.supernet) != member.weights:
        again = hint("finetune", ALL, run=trained.run.path)
        raise UserError(
            f"{sub.supernet} does not hold the fine-tuned weights of {member.id} any more; fine-tune again ({again}), "
            "or take the supernet's (`no_tuned`)"
        )
    return replace(trained, run=sub, net=load_supernet(sub), weights=member.weights)


def export_source(trained: Trained, finetuned: Finetuned | None = None) -> Source:
    """What candidates are exported from: a run of a supernet, or with ``finetuned`` a fine-tuned candidate, which
    lies in ``finetune/`` of a supernet's."""
    supernet = trained.run if finetuned is None else Run(trained.run.path.parents[1])
    first = first_weights(config_of(supernet))
    seed = config_of(trained.run).seed
    return Source(trained.net, trained.dataset, trained.calibration, trained.weights, seed, first, finetuned)
