"""The whole network at every resolution: tuned after the supernet, measured beside the front, resumed to the bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.candidates.calibrate import calibrate
from nas.data.batches import calibration_images, eval_batches
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.training.builders import settled_augment
from nas.training.config import TrainConfig
from nas.workflows.trained import open_trained
from nas.workflows.whole import EPOCHS, whole_networks
from search_spaces import get_space
from search_spaces.builders.timm_compat import timm
from tests.support.cli_runs import half, invoke, write_photos
from tests.support.small_runs import RESOURCES, are_equal, assert_same_run, train_run
from tests.support.stopping import Acts, interrupt

SPACE = "timm:resnet10t:resolution=24,32"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, TrainConfig]:
    """From weights of a network; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("whole")
    photos, weights = write_photos(folder / "photos", count=15), folder / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=3).state_dict(), weights)
    config = TrainConfig(source=str(photos), space=SPACE, init=str(weights), batch_size=16, epochs=2.0)
    run = Run(folder / "run")
    train_run(run, config)
    return run, config


def test_networks_of_a_space_differ_in_resolution_alone() -> None:
    space = get_space(SPACE)
    networks = whole_networks(space)
    assert [one.resolution for one in networks] == [24, 32]
    assert networks[-1] == space.largest
    assert len({frozenset(gene for gene in one.genes if gene[0] != "resolution") for one in networks}) == 1
    (only,) = whole_networks(get_space("timm:resnet10t:resolution=32"))
    assert only == get_space("timm:resnet10t:resolution=32").largest


def test_smaller_images_are_tuned_from_the_adapted_weights(trained: tuple[Run, TrainConfig]) -> None:
    run, _ = trained
    sub = run.whole(24)
    record = sub.read()
    assert record.complete
    assert (record.config["init"], record.config["epochs"]) == (str(run.adapted.resolve()), EPOCHS)
    adapted, tuned = (load_tensors(path)[0] for path in (run.adapted, sub.supernet))
    assert adapted.keys() == tuned.keys()
    assert not are_equal(adapted, tuned)
    assert not run.whole(32).exists  # the adapted weights themselves
    assert not sub.checkpoint.exists()


def test_the_search_shows_them_beside_its_front(trained: tuple[Run, TrainConfig]) -> None:
    """Accuracies of the plain network, calibrated by hand, in fp32; latencies on every device of the search."""
    run, _ = trained
    objectives = "accuracy,latency,latency:cortex-a53"
    done = invoke(
        "search", "--run", run.path, "--target", "x86-64", "--precision", "fp32", "--measurements", 4, "--objectives",
        objectives, "--calibration-images", 16,
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(run.search("x86-64").read_text())
    assert [member["architecture"]["genes"]["resolution"] for member in result["whole"]] == [24, 32]
    assert [line for line in done.out.splitlines() if line.startswith("the whole, fine-tuned, 24 px: ")]
    dataset = open_trained(run).dataset
    for member, file in zip(result["whole"], (run.whole(24).supernet, run.adapted), strict=True):
        side = member["architecture"]["genes"]["resolution"]
        assert member["latency_elsewhere_ms"]["cortex-a53"] > 0
        model = timm.create_model("resnet10t", num_classes=3)
        model.load_state_dict(load_tensors(file)[0])
        calibrate(model, calibration_images(dataset, side, 16))
        with torch.no_grad():
            for split, key in (("search", "accuracy"), ("test", "test")):
                hits = [(model(x).argmax(1) == y) for x, y in eval_batches(dataset, split, side, 256)]
                assert member[key]["correct"] == int(torch.cat(hits).sum())
    page = invoke("report", "--run", run.path)
    assert page.code == 0, page.err
    assert "The whole network, fine-tuned, at each resolution" in (run.path / "report.html").read_text()


def test_a_search_does_without_what_cannot_be_read(trained: tuple[Run, TrainConfig], tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(trained[0].path, run.path)
    half(run.whole(24).supernet)
    words = ("search", "--run", run.path, "--target", "x86-64", "--precision", "fp32", "--measurements", 4)
    done = invoke(*words)
    assert done.code == 0, done.err
    assert (
        f"{run.whole(24).supernet} is missing or cannot be read; the whole network at 24 px is not compared" in done.err
    )
    (whole,) = json.loads(run.search("x86-64").read_text())["whole"]
    assert whole["architecture"]["genes"]["resolution"] == 32
    run.adapted.unlink()
    assert invoke(*words).code == 0
    assert "whole" not in json.loads(run.search("x86-64").read_text())


def test_a_run_that_learned_its_grids_has_them_too(trained: tuple[Run, TrainConfig], tmp_path: Path) -> None:
    """The whole was tuned without any."""
    run, config = Run(tmp_path / "run"), trained[1]
    train_run(run, replace(config, epochs=1.0, quantization_aware="w4a8"))
    done = invoke(
        "search",
        "--run",
        run.path,
        "--target",
        "cortex-a72",
        "--precision",
        "w4a8",
        "--measurements",
        4,
        "--compare",
        "none",
    )
    assert done.code == 0, done.err
    assert len(json.loads(run.search("cortex-a72").read_text())["whole"]) == 2


def test_images_are_changed_as_in_the_run(trained: tuple[Run, TrainConfig]) -> None:
    """Auto goes by the epochs of a training, and the ones here are few."""
    run, config = trained
    info = run.read().data
    assert settled_augment(config, info) == run.whole(24).read().config["augment"] == "none"
    assert settled_augment(replace(config, epochs=100.0), info) == "light"


def test_stopped_while_it_is_tuned_or_never_is_the_same(
    trained: tuple[Run, TrainConfig], tmp_path: Path, at_steps: Acts
) -> None:
    straight, config = trained
    run = Run(tmp_path / "run")
    at_steps += [(3, lambda: None), (1, interrupt)]  # step 1 of the second training
    with pytest.raises(BaseException):  # noqa: B017, PT011
        train_run(run, config)
    assert run.supernet.exists()
    assert not run.read().complete
    train_run(run, config, RESOURCES)
    assert_same_run(run, straight)
    assert are_equal(*(load_tensors(each.whole(24).supernet)[0] for each in (run, straight)))
