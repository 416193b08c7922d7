"""What is evaluated is what was meant: an architecture as text, a folder's own file, on images that it was made for."""

from __future__ import annotations

import json
import shutil
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.candidates.calibrate import Calibration
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.export.folder import check_images_of, export_candidate
from nas.export.manifest import exported_file, open_model
from nas.store.run import Run
from nas.workflows.export import export_source
from nas.workflows.resolve import find_run, pick_member, read_search
from nas.workflows.trained import open_trained
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.errors import UserError
from tests.support.cli_runs import edit_json, invoke


def test_an_architecture_as_text_may_be_longer_than_a_files_name(here: Path) -> None:
    largest = get_space("mbv3-tiny").largest
    assert len(largest.to_json()) > 255
    result = invoke("evaluate", largest.to_json(), "--run", "run")
    assert result.code == 0, result.err
    assert result.err.strip().splitlines()[-1] == "next: nas report --run run"
    trained = open_trained(Run(here / "run"))
    found = measure(trained.net, trained.dataset, Candidate(largest, "int8"), "test", Calibration())
    assert f"{100 * found.value:.2f} ± " in result.out
    with pytest.raises(UserError, match="no run under"):  # as a path, a part of it were too long
        find_run(None, json.dumps({"space": f"folder/{'x' * 300}/name"}))


def test_what_to_type_next_is_about_the_same_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = SimpleNamespace(finetuned_from=None)
    files = {"model.safetensors": "", "model.int8.tflite": ""}
    written = SimpleNamespace(results=(), provenance=origin, files=files, left_out=None, remarks=None)
    monkeypatch.setattr("nas.workflows.export.export_candidate", lambda *_, **__: written)
    done = invoke("export", "--run", "run", "--out", "to ship")
    assert done.err.strip().splitlines()[-1] == "next: nas evaluate 'to ship/model.int8.tflite' --run run"
    done = invoke("estimate", "best", "--run", "run")
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("next: nas export --run run --candidate ")
    assert last.endswith(" --target cortex-a72")


def test_a_file_is_run_on_the_images_it_was_made_for(here: Path) -> None:
    (folder,) = (here / "run" / "export").iterdir()
    shutil.copytree("run", "other")
    edit_json(here / "other" / "run.json", lambda c: c | {"data": c["data"] | {"mean": [0.1, 0.2, 0.3]}})
    result = invoke("evaluate", folder, "--run", "other")
    assert result.code == 1
    assert "model.int8.tflite was not exported from other: mean differ; give its own run (--run)" in result.message

    trained = open_trained(Run(here / "run"))
    file = folder / "model.int8.tflite"
    own = {key: json.loads(text) for key, text in open_model(file).metadata.items()}

    def check(**changed: object) -> None:
        metadata = {key: json.dumps(value) for key, value in (own | changed).items()}
        check_images_of(trained.dataset.info, trained.run.path, types.SimpleNamespace(metadata=metadata), file)

    check()
    with pytest.raises(UserError, match="classes differ"):
        check(classes=["apple", "plum", "pear"])
    with pytest.raises(UserError, match="input_size, std differ"):
        check(input=own["input"] | {"std": [0.5], "input_size": [1, 28, 28]})
    with pytest.raises(UserError, match="classes, mean differ"):
        check(classes=None, input=own["input"] | {"mean": "none"})


@pytest.mark.long
def test_a_folder_that_was_exported_into_twice_is_the_second_export(here: Path) -> None:
    """Another candidate or precision of the same folder: nothing of the first one answers for it."""
    (folder,) = (here / "run" / "export").iterdir()
    first = (folder / "model.int8.tflite").read_bytes()
    (folder / "model.w4a8.tflite").write_bytes(b"somebody's own")
    trained = open_trained(Run(here / "run"))
    member = replace(pick_member(read_search(trained.run)), precision="fp32")
    export_candidate(export_source(trained), member, load_target("cortex-a72"), folder)
    assert sorted(path.name for path in folder.glob("*.tflite")) == ["model.fp32.tflite", "model.w4a8.tflite"]
    assert json.loads((folder / "architecture.json").read_text())["files"].keys() == {
        "model.safetensors",
        "model.fp32.tflite",
    }
    (folder / "model.int8.tflite").write_bytes(first)  # as an earlier version left it
    assert exported_file(folder) == folder / "model.fp32.tflite"
    assert invoke("evaluate", folder, "--json").json["what"].endswith("model.fp32.tflite")
    (folder / "architecture.json").unlink()
    assert exported_file(folder) == folder / "model.int8.tflite"


def test_a_number_that_the_run_knows_is_recalled_unless_it_is_asked_for_again(here: Path) -> None:
    first = invoke("evaluate", "best", "--run", "run")
    assert "measured before and kept in the run; --again measures it anew" in first.err
    again = invoke("evaluate", "best", "--run", "run", "--again")
    assert "measured before" not in again.err
    assert again.out == first.out
    known = invoke("evaluate", "best", "--run", "run", "--json").json
    assert known["recalled"]
    assert known == invoke("evaluate", "best", "--run", "run", "--again", "--json").json | {"recalled": True}
    largest = get_space("mbv3-tiny").largest.to_json()
    facts = [invoke("evaluate", largest, "--run", "run", "--precision", "fp32", "--json").json for _ in range(2)]
    assert [each.pop("recalled") for each in facts] == [False, True]
    assert facts[0] == facts[1]
