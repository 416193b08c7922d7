"""Where the accuracy of a trained run goes: measured by hand, kept, drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from nas.candidates import ship
from nas.data.batches import calibration_images, eval_batches
from nas.events import Advanced, Event
from nas.report import write_report
from nas.store.files import load_tensors, read_record
from nas.store.results import CALIBRATION_IMAGES
from nas.store.run import Run
from nas.store.sensitivity import Sensitivity
from nas.training.config import TrainConfig
from nas.workflows import sensitivity
from nas.workflows.estimate import estimate_model
from nas.workflows.sensitivity import measure_sensitivity
from nas.workflows.trained import open_trained
from predictors.costs.network import architecture_features, costs_of
from search_spaces import get_space
from search_spaces.architecture import Architecture
from tests.support.cli_runs import edit_json, invoke, write_photos
from tests.support.small_runs import train_run

SPACE = get_space("mbv3-tiny")
KEPT = "sensitivity.json"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of which everything is measured; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("sensitivity")
    photos = write_photos(folder / "photos", count=40)
    train_run(Run(folder / "run"), TrainConfig(source=str(photos), space=SPACE.name, epochs=4, batch_size=16))
    measure_sensitivity(Run(folder / "run"), "cortex-a72")
    return folder / "run"


@pytest.fixture
def run(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy that a test may change."""
    shutil.copytree(measured, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path / "run")


def cut_by_hand(run: Path, architecture: Architecture) -> nn.Module:
    """A fresh network with the leading channels and the middle of the kernels of the trained weights."""
    trained, _ = load_tensors(run / "supernet.safetensors")
    model = SPACE.build(architecture, open_trained(Run(run)).dataset.interface)

    def cut(whole: Tensor, shape: torch.Size) -> Tensor:
        for dim, size in enumerate(shape):
            start = (whole.shape[dim] - size) // 2 if dim >= 2 else 0
            whole = whole.narrow(dim, start, size)
        return whole.clone()

    model.load_state_dict({name: cut(trained[name], tensor.shape) for name, tensor in model.state_dict().items()})
    return model


def calibrate_by_hand(model: nn.Module, images: Tensor) -> None:
    """Statistics of all that the batch norms get, in one piece."""
    seen: dict[nn.BatchNorm2d, list[Tensor]] = {m: [] for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for norm, values in seen.items():
        norm.register_forward_pre_hook(lambda _, given, values=values: values.append(given[0]))  # type: ignore[misc]
    model.train()
    with torch.no_grad():
        for batch in images.tensor_split(-(-len(images) // 32)):
            model(batch)
        for norm, values in seen.items():
            every = torch.cat(values)
            norm.running_mean, norm.running_var = every.mean((0, 2, 3)), every.var((0, 2, 3))
    model.eval()


def test_subnets_cut_and_calibrated_by_hand_score_the_same(measured: Path) -> None:
    found = read_record(measured / KEPT, Sensitivity)
    dataset = open_trained(Run(measured)).dataset
    largest = dict(SPACE.largest.genes)
    kinds = {gene.kind: gene.name for gene in SPACE.genes}  # the last of each kind
    assert len(kinds) >= 5
    chosen = [row for row in found.rows if row.gene in kinds.values()]
    assert found.images == len(dataset.splits["search"]) > 10
    for row in (None, *chosen):
        genes = largest if row is None else largest | {row.gene: row.choice}
        if row is not None and row.gene.endswith("depth"):
            stage, blocks = row.gene.removesuffix("depth"), range(int(row.choice), int(row.largest))
            genes = {k: v for k, v in genes.items() if not any(k.startswith(f"{stage}b{b}.") for b in blocks)}
        architecture = Architecture(SPACE.name, tuple(genes.items()))
        model = cut_by_hand(measured, architecture)
        calibrate_by_hand(model, calibration_images(dataset, architecture.resolution, CALIBRATION_IMAGES))
        correct = 0
        for images, labels in eval_batches(dataset, "search", architecture.resolution, 64):
            correct += int((model(images).argmax(1) == labels).sum())
        subnet = row or found.largest
        assert subnet.accuracy.correct == correct, row
        features = architecture_features(SPACE, architecture, dataset.interface)
        assert subnet.macs == costs_of(features, "fp32").macs
        told = estimate_model(architecture.to_json(), "cortex-a72", num_classes=3, in_chans=dataset.info.in_chans)
        assert subnet.latency_ms == pytest.approx(told.latency_ms)
        if row is not None:
            assert row.lost == found.largest.accuracy.value - row.accuracy.value
            assert found.saved(row) == pytest.approx(1 - row.macs / found.largest.macs)


def test_the_dearest_choice_comes_first(measured: Path) -> None:
    found = read_record(measured / KEPT, Sensitivity)
    assert found.complete
    assert {(row.gene, row.choice) for row in found.rows} == {
        (gene.name, choice) for gene in SPACE.genes for choice in gene.choices[:-1]
    }
    order = [(-row.lost, found.saved(row)) for row in found.rows]
    assert order == sorted(order)
    assert len({row.lost for row in found.rows}) > 1  # there is something to sort


def test_what_was_stopped_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is missing is measured, and the result is the same."""
    whole = run.sensitivity.read_bytes()
    missing = {("s3.width", 40), ("s2.depth", 1)}
    edit_json(run.sensitivity, lambda c: c | {
        "complete": False, "rows": [r for r in c["rows"] if (r["gene"], r["choice"]) not in missing]
    })  # fmt: skip
    scored: list[Architecture] = []

    def note(net: object, dataset: object, candidate: object, *more: object) -> object:
        scored.append(candidate.architecture)  # type: ignore[attr-defined]
        return ship.measure(net, dataset, candidate, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sensitivity, "measure", note)
    told: list[Event] = []
    measure_sensitivity(run, "cortex-a72", report=told.append)
    assert len(scored) == len(missing)
    assert run.sensitivity.read_bytes() == whole
    steps = [event for event in told if isinstance(event, Advanced)]
    assert [event.done for event in steps] == list(range(1, steps[-1].total + 1))


@pytest.mark.parametrize("change", ["weights", "images", "damage"])
def test_what_is_stale_is_measured_anew(run: Run, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "take_down", lambda space: [])
    scored = []
    monkeypatch.setattr(sensitivity, "measure", lambda *given: scored.append(given) or ship.measure(*given))
    measure_sensitivity(run)
    assert not scored
    if change == "weights":
        edit_json(run.sensitivity, lambda c: c | {"weights": "0" * 16})
    if change == "damage":
        run.sensitivity.write_text(run.sensitivity.read_text()[:-20])
    measure_sensitivity(run, images=5 if change == "images" else 1000)
    assert len(scored) == 1
    assert read_record(run.sensitivity, Sensitivity).weights == run.read().weights


def test_the_command_prints_what_is_kept(run: Run) -> None:
    told = invoke("spaces", "--run", "run", "--target", "cortex-a72", "--json")
    assert told.json == json.loads(run.sensitivity.read_text())
    printed = invoke("spaces", "--run", "run")
    assert printed.code == 0, printed.err
    rows = [line.split() for line in printed.out.splitlines() if line.split()[:1] and line.split()[0] in SPACE.index]
    kept = told.json["rows"]
    assert [(row[0], float(row[2]), float(row[4])) for row in rows] == [
        (row["gene"], row["choice"], round(100 * row["lost"], 2)) for row in kept
    ]
    assert "one image is" in printed.out
    assert printed.err.strip().endswith("next: nas report --run run")


def test_the_report_draws_every_choice(run: Run) -> None:
    found = read_record(run.sensitivity, Sensitivity)
    report = write_report(run)
    assert not report.notes
    page = report.report.read_text()
    assert "Where the accuracy goes" in page
    (plot,) = [path for path in report.plots if path.stem == "sensitivity"]
    drawn = ElementTree.parse(plot).getroot()
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {gene.name for gene in SPACE.genes} <= set(texts)
    for row in found.rows:
        assert f'data-tip="{row.gene}: {row.largest:g} to {row.choice:g}\n' in page
    edit_json(run.sensitivity, lambda c: c | {"weights": "0" * 16})
    assert "measure it again: nas spaces --run" in write_report(run).report.read_text()
    run.sensitivity.write_text("{")
    assert any("sensitivity.json is damaged" in note for note in write_report(run).notes)
    run.sensitivity.unlink()
    assert "Where the accuracy goes" not in write_report(run).report.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mbv3-tiny", "--run", "run"), "mbv3-tiny and --run both name a space"),
        (("--target", "cortex-a72"), "--target cortex-a72 is for the measurements of a trained run; give --run too"),
        (("mbv3-tiny", "--images", "5"), "--images 5 is for the measurements of a trained run; give --run too"),
        (("--run", "run", "--target", "abacus"), "unknown target"),
        (("--run", "nowhere"), "nowhere is not a run directory"),
    ],
)
def test_words_that_mean_nothing_are_refused(run: Run, words: tuple[str, ...], message: str) -> None:
    assert message in invoke("spaces", *words).message
