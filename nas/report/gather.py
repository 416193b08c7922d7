"""What a report tells of: the files of a run. A damaged file is left out, and the report says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.runtimes.table import suffixes
from nas.store.exports import Manifest
from nas.store.files import read_json, read_record
from nas.store.metrics import Metric, read_metrics
from nas.store.records import RunRecord
from nas.store.results import SearchResult
from nas.store.run import Run, file_hash
from nas.workflows.estimate import Estimate, estimate_model
from search_spaces.errors import UserError

from .seconds import Seconds, seconds_of

Facts = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """The content of a run.

    Attributes:
        path: of the directory.
        name: its last part.
        content: of ``run.json``.
        metrics: lines of ``metrics.jsonl`` in order.
        searches: result by the name of its target.
        exports: folder, ``architecture.json`` and hashes by file name.
        seconds: of measuring, from the journal; see :func:`nas.report.seconds.seconds_of`.
        notes: what could not be read, for people.
    """

    path: Path
    name: str
    content: RunRecord
    metrics: list[Metric]
    searches: dict[str, Facts]
    exports: list[tuple[str, Facts, dict[str, str]]]
    seconds: Seconds = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gather(run: Run) -> Material:
    """Read a run. Raises UserError where it has no ``run.json``, or a damaged one."""
    content = run.read()
    notes: list[str] = []
    searches = {}
    for target, path in run.searches().items():
        found = _read(path, notes, SearchResult)
        if found:
            searches[target] = found
    exports = []
    for path in sorted(run.path.glob("export/*/architecture.json")):
        found = _read(path, notes, Manifest)
        if found:
            files = sorted(p for p in path.parent.iterdir() if p.suffix in (".safetensors", *suffixes()))
            exports.append((path.parent.name, found, {p.name: file_hash(p) for p in files}))
    name, metrics = run.path.resolve().name, _metrics(run.metrics, notes)
    return Material(run.path, name, content, metrics, searches, exports, _seconds(run.journal, notes), notes)


def estimated(material: Material, result: Facts, member: Facts) -> Estimate:
    """Costs of a member of a front on its target, operator by operator.

    Raises:
        UserError: its target file is gone, or its architecture is not of its space.
        KeyError, TypeError: the files are of another version.
    """
    data, architecture = material.content.data, json.dumps(member["architecture"])
    target, classes = result["config"]["target"], data.num_classes
    return estimate_model(architecture, target, None, member["precision"], None, classes, data.in_chans, layers=True)


def _seconds(journal: Path, notes: list[str]) -> Seconds:
    if not journal.exists():
        return {}
    try:
        return seconds_of(journal)
    except (UserError, OSError) as error:
        notes.append(str(error))
        return {}


def _read(path: Path, notes: list[str], kind: type[SearchResult | Manifest]) -> Facts | None:
    try:
        read_record(path, kind)
        found: Facts = read_json(path)
    except (UserError, OSError) as error:
        notes.append(str(error))
        return None
    return found


def _metrics(path: Path, notes: list[str]) -> list[Metric]:
    found, bad = read_metrics(path)
    if bad:
        notes.append(f"{path}: {bad} lines are damaged and left out")
    return found
