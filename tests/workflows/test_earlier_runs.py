"""Runs that version 0.1.0 wrote, before the packages were rearranged, continue with the same results.

The tests use commands and files only; the one module that they import is the script that made the fixture.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

for _package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_package)

from tests.fixtures.first_layout import make_fixture  # noqa: E402
from tests.support.long_forms import long_form  # noqa: E402

NEAR = 0.1
"""Share by which numbers may differ where another processor, or another version of a library, rounds differently."""

ANEW = ("trained_anew", "searched_anew")
"""What needs nothing that version 0.1.0 left but its first weights, or its supernet."""

pytestmark = pytest.mark.xdist_group("earlier_runs")  # unpacked once, by one process


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The results of version 0.1.0."""
    content: dict[str, Any] = json.loads((make_fixture.HERE / make_fixture.EXPECTED).read_text())
    return content


@pytest.fixture(scope="module")
def work(expected: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos and both runs."""
    folder = tmp_path_factory.mktemp("earlier")
    make_fixture.unpack(make_fixture.HERE / make_fixture.ARCHIVE, folder)
    hashed = make_fixture.photos_hash(folder / "photos")
    assert hashed == expected["photos"], "numpy draws other photos from the same seed"
    return folder


@pytest.fixture(scope="module")
def nas() -> Iterator[make_fixture.Nas]:
    """Runs commands in one process on one thread."""
    with make_fixture.one_process() as run:
        yield run


@pytest.fixture(scope="module")
def exact(expected: dict[str, Any]) -> bool:
    """Whether results are compared to the last bit."""
    same: bool = make_fixture.machine() == expected["machine"]
    return same


@pytest.mark.parametrize("name", long_form([n for n in make_fixture.OBSERVED if n not in ANEW], ANEW))
def test_continues_with_the_same_results(
    expected: dict[str, Any], work: Path, nas: make_fixture.Nas, exact: bool, name: str
) -> None:
    results = json.loads(json.dumps(make_fixture.OBSERVED[name](work, nas)))
    if exact:
        assert not list(differences(expected["results"][name], results))
        return
    warnings.warn(f"{name}: compared within {NEAR:.0%}, because this machine rounds differently", stacklevel=1)
    assert not list(differences(comparable(expected["results"][name]), comparable(results), NEAR))


def test_everything_expected_is_observed(expected: dict[str, Any]) -> None:
    assert expected["results"].keys() == make_fixture.OBSERVED.keys()


def differences(wanted: Any, given: Any, near: float = 0.0, where: str = "") -> Iterator[str]:
    """A line for each place where two JSON values differ; numbers may differ by a share of ``near``."""
    if isinstance(wanted, Mapping) and isinstance(given, Mapping):
        for key in sorted(wanted.keys() | given.keys()):
            if key in wanted and key in given:
                yield from differences(wanted[key], given[key], near, f"{where}/{key}")
            else:
                yield f"{where}/{key}: only {'expected' if key in wanted else 'given'}"
    elif isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
        for index, (left, right) in enumerate(zip(wanted, given, strict=True)):
            yield from differences(left, right, near, f"{where}/{index}")
    elif near and is_number(wanted) and is_number(given):
        if not math.isclose(wanted, given, rel_tol=near, abs_tol=near):
            yield f"{where}: {given}, expected {wanted}"
    elif wanted != given or type(wanted) is not type(given):
        yield f"{where}: {given}, expected {wanted}"


def comparable(value: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that stays where the last bits of numbers differ: a search may then find another front.

    Of a training everything but hashes; of a search its settings and the costs of the first networks; of an export
    everything but hashes and the nodes of graphs, which another exporter writes differently.
    """
    if "search" in value:
        result = value["search"]["result"]
        return {key: result[key] for key in ("config", "complete", "objectives", "target", "weights")} | {
            end: {cost: result["extremes"][end][cost] for cost in ("latency", "size")} for end in result["extremes"]
        }
    kept: dict[str, Any] = without_hashes(value)
    return kept


def without_hashes(value: Any) -> Any:
    """A result without hashes, graphs and measured accuracies."""
    if isinstance(value, Mapping):
        if "constants" in value:
            return {"notes": without_hashes(value["notes"])}
        if value.keys() >= {"value", "low", "high", "correct"}:
            return {"images": value["images"]}
        return {key: without_hashes(entry) for key, entry in value.items()}
    if isinstance(value, list):
        is_tensor = len(value) == 3 and isinstance(value[0], str) and isinstance(value[2], str)
        return value[:2] if is_tensor else [without_hashes(entry) for entry in value]
    return value


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
