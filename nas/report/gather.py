"""What a report is made of: the files of a run. A damaged file is left out, and the report says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nas.journal.journal import SEARCH, TEST, seconds_spent
from nas.runtimes.table import suffixes
from nas.store.exports import Manifest
from nas.store.files import read_record
from nas.store.metrics import Metric, read_metrics
from nas.store.records import RunRecord
from nas.store.results import Member, SearchResult
from nas.store.run import Run, file_hash
from nas.store.sensitivity import Sensitivity
from nas.store.tuned import TunedFront, TunedMember, with_tuned
from nas.workflows.estimate import Estimate, estimate_model
from search_spaces.errors import UserError

T = TypeVar("T")

Seconds = dict[str, dict[str, tuple[int, float]]]
"""By split, then by what asked for the measurements: how many there are, and their seconds."""


@dataclass(frozen=True)
class Export:
    """An exported folder, with hashes of its files with weights by name."""

    folder: str
    manifest: Manifest
    hashes: dict[str, str]


@dataclass(frozen=True)
class Material:
    """The content of a run.

    Attributes:
        searches: result by the name of its target.
        sensitivity: what each smaller choice costs the supernet; None: not measured.
        seconds: time of all measurements, from the journal.
        tuned: candidates that were fine-tuned with their front; None: there are none.
        notes: what could not be read, in words.
    """

    path: Path
    name: str
    record: RunRecord
    metrics: list[Metric]
    searches: dict[str, SearchResult]
    exports: list[Export]
    sensitivity: Sensitivity | None = None
    seconds: Seconds = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tuned: TunedFront | None = None

    def tuned_of(self, name: str) -> dict[str, TunedMember]:
        """Members of the front for a target, by id, whose fine-tuned weights are shipped."""
        return {} if self.tuned is None else self.tuned.kept_of(self.searches[name])

    def shipped(self, name: str) -> SearchResult:
        """The search for a target, its front with the accuracies of the weights that are shipped."""
        return with_tuned(self.searches[name], self.tuned_of(name))


def gather(run: Run) -> Material:
    """Read a run. Raises UserError: its ``run.json`` is missing or damaged."""
    record = run.read()
    notes: list[str] = []
    results = {target: _read(path, SearchResult, notes) for target, path in run.searches().items()}
    searches = {target: result for target, result in results.items() if result is not None}
    exports = []
    for path in sorted(run.path.glob("export/*/architecture.json")):
        manifest = _read(path, Manifest, notes)
        if manifest is not None:
            files = sorted(p for p in path.parent.iterdir() if p.suffix in (".safetensors", *suffixes()))
            exports.append(Export(path.parent.name, manifest, {p.name: file_hash(p) for p in files}))
    metrics, damaged = read_metrics(run.metrics)
    if damaged:
        notes.append(f"{run.metrics}: damaged lines were left out, {damaged} in all")
    name, seconds = run.path.resolve().name, _add_seconds(run.journal, notes)
    sensitivity = _read(run.sensitivity, Sensitivity, notes) if run.sensitivity.exists() else None
    tuned = _read(run.tuned, TunedFront, notes) if run.tuned.exists() else None
    return Material(run.path, name, record, metrics, searches, exports, sensitivity, seconds, notes, tuned)


def estimate_member(material: Material, result: SearchResult, member: Member) -> Estimate:
    """Costs of a member of a front on its target, operator by operator. Raises UserError: its target file is missing,
    or its architecture doesn't belong to its space."""
    data, architecture = material.record.data, member.architecture.to_json()
    return estimate_model(
        architecture, result.settings.target, None, member.precision, None, data.num_classes, data.in_chans, layers=True
    )


def _read(path: Path, kind: type[T], notes: list[str]) -> T | None:
    try:
        return read_record(path, kind)
    except (UserError, OSError) as error:
        notes.append(str(error))
        return None


def _add_seconds(journal: Path, notes: list[str]) -> Seconds:
    seconds: Seconds = {SEARCH: {}, TEST: {}}
    if not journal.exists():
        return {}
    try:
        for split, parts in seconds.items():
            for origin, spent in seconds_spent(journal, split):
                count, total = parts.get(origin, (0, 0.0))
                parts[origin] = (count + 1, total + spent)
    except (UserError, OSError) as error:
        notes.append(str(error))
        return {}
    return seconds
