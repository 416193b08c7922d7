"""``tuned.json``: what was fine-tuned of candidates, by how they were calibrated."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from nas.search.outcome import record_accuracy
from nas.store.exports import FinetuneOrigin
from nas.store.files import read_record, write_json
from nas.store.results import SearchResult
from nas.store.run import Run
from nas.store.tuned import TunedFront, TunedMember, read_tuned
from nas.tasks.classification import Accuracy
from search_spaces.schema import to_json
from tests.store.test_records import ARCHIVE


@pytest.fixture
def result(tmp_path: Path) -> SearchResult:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return read_record(tmp_path / "searched" / "search-cortex-a72.json", SearchResult)


def tuned(result: SearchResult, images: int | None, folder: str, right: int) -> TunedMember:
    """The first member of a front, fine-tuned to so many right answers."""
    member = result.front[0]
    better = record_accuracy(Accuracy(right, member.accuracy.images))
    return TunedMember(
        id=member.id, folder=folder, weights="w", origin=FinetuneOrigin("w", 1.0, 0.1, False, False, 0), steps=1,
        before=member.accuracy, after=better, kept="finetuned", test=member.test, calibration_images=images,
    )  # fmt: skip


def test_a_candidate_calibrated_otherwise_is_another_network(result: SearchResult) -> None:
    usual = result.settings.calibration_images
    other = replace(result, config={**result.config, "calibration_images": usual + 1})
    front = TunedFront(weights=result.weights, members=())
    front = front.with_member(tuned(result, usual, "a", 3)).with_member(tuned(result, usual + 1, "b", 1))
    assert [front.kept_of(each)[result.front[0].id].folder for each in (result, other)] == ["a", "b"]
    name = result.front[0].id
    assert front.with_member(tuned(result, usual, "c", 3)).kept_of(result)[name].folder == "c"  # the later of two alike
    most = result.front[0].accuracy.images
    best = front.with_member(tuned(result, usual, "d", most))
    assert best.with_member(tuned(result, usual, "e", 0)).kept_of(result)[name].folder == "d"  # worse than by chance
    dropped = replace(tuned(result, usual, "f", most), kept="supernet")
    assert best.with_member(dropped).kept_of(result)[name].folder == "d"
    assert front.with_member(dropped).with_member(tuned(result, usual, "g", 1)).of(result)[name].kept == "finetuned"
    assert front.with_member(tuned(result, usual, "a", 2)).kept_of(result)[result.front[0].id].after.correct == 2
    assert replace(front, weights="other").kept_of(result) == {}


def test_a_file_of_an_earlier_version_has_one_number_for_all(result: SearchResult, tmp_path: Path) -> None:
    run, images = Run(tmp_path), result.settings.calibration_images
    old = TunedFront(weights=result.weights, members=(tuned(result, None, "a", 3),), calibration_images=images)
    write_json(run.tuned, to_json(old))
    (member,) = read_tuned(run, result).kept_of(result).values()
    assert (member.folder, member.calibration_images) == ("a", images)
    assert old.kept_of(result)[member.id].folder == "a"  # as a report reads it
    other = replace(result, config={**result.config, "calibration_images": images + 1})
    assert read_tuned(run, other).kept_of(other) == {}
    assert read_tuned(run, other).members == read_tuned(run, result).members  # nothing that was earned is lost
