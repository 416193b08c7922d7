"""Records of the first layout are read and written again byte for byte."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nas.store.bundles import BundleManifest
from nas.store.exports import FilesManifest, Manifest, TeacherManifest
from nas.store.files import load_tensors, read_record
from nas.store.metrics import Metrics
from nas.store.records import CheckpointRecord, RunRecord
from nas.store.results import SearchResult
from search_spaces.errors import UserError
from search_spaces.schema import SchemaError, convert, to_json

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "first_layout" / "run_directories.tar.xz"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that were written before there were records."""
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("half/run.json", RunRecord),
        ("searched/run.json", RunRecord),
        ("searched/search-cortex-a53.json", SearchResult),
        ("searched/search-cortex-a72.json", SearchResult),
        ("searched/export/cortex-a72-7c10e3ea-int8/architecture.json", Manifest),
    ],
)
def test_a_file_is_written_as_it_was_read(runs: Path, name: str, kind: type[Any]) -> None:
    text = (runs / name).read_text()
    assert json.dumps(to_json(read_record(runs / name, kind)), indent=2) + "\n" == text


def test_metrics_are_cut_back_to_the_same_lines(runs: Path, tmp_path: Path) -> None:
    for run in ("half", "searched"):
        before, path = (runs / run / "metrics.jsonl").read_bytes(), tmp_path / f"{run}.jsonl"
        shutil.copy(runs / run / "metrics.jsonl", path)
        Metrics(path, 10**6, lambda event: None)
        assert path.read_bytes() == before


def test_the_metadata_of_a_checkpoint_stays_the_same(runs: Path) -> None:
    metadata = load_tensors(runs / "half" / "checkpoint.safetensors")[1]
    assert json.dumps(to_json(convert(metadata, CheckpointRecord))) == json.dumps(metadata)


def test_parts_of_a_manifest_can_be_read_alone(runs: Path) -> None:
    path = runs / "searched/export/cortex-a72-7c10e3ea-int8/architecture.json"
    whole = read_record(path, Manifest)
    teacher = read_record(path, TeacherManifest)
    assert (teacher.input, teacher.classes, teacher.timm) == (whole.input, whole.classes, whole.timm)
    assert read_record(path, FilesManifest).files == whole.files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"front": [{}]}, r"search\.json is damaged: front\[0\]\.id is missing; restore or remove it"),
        ({"config": {"target": 3}}, r"config\.target is 3, not a text"),
        ({"hypervolume": "high"}, r'hypervolume is "high", not a number'),
        ({"extremes": {"smallest": {"accuracy": 1}}}, r"extremes\.smallest: "),
        ({"predictor": None}, r"predictor is null, not a table"),
        ({"format": 10**6}, "written by a newer nas"),
    ],
)
def test_a_result_that_cannot_be_is_refused(runs: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads((runs / "searched/search-cortex-a72.json").read_text())
    path = tmp_path / "search.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=message):
        read_record(path, SearchResult)


@pytest.mark.parametrize("key", ["lr", "weights", "finetuned_from", "versions"])
def test_a_key_that_may_be_missing_may_not_be_null(runs: Path, tmp_path: Path, key: str) -> None:
    content = json.loads((runs / "searched/run.json").read_text())
    path = tmp_path / "run.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if k != key}))
    read_record(path, RunRecord)
    path.write_text(json.dumps(content | {key: None}))
    with pytest.raises(UserError, match=f"{key}: null; leave the key out"):
        read_record(path, RunRecord)


@pytest.mark.parametrize("key", ["precisions", "uint8"])
def test_a_bundle_says_what_its_files_are(key: str) -> None:
    plan = {"parts": [], "precisions": ["int8"], "uint8": False}
    content = {
        "bundle": "", "reference": "", "threads": 1, "plan": plan, "versions": {"torch": "", "timm": ""},
        "networks": [],
    }  # fmt: skip
    assert convert(content, BundleManifest).plan.precisions == ("int8",)
    del plan[key]
    with pytest.raises(SchemaError, match=f"plan: {key} is missing"):
        convert(content, BundleManifest)
