"""Grey images of 12 bits, from training to the device: the script says of files what the evaluation counted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.store.run import Run
from nas.workflows.trained import open_trained
from tests.support.cli_runs import invoke
from tests.support.scripts import run_script

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = ("blob", "cross")


def write_scans(folder: Path, count: int) -> None:
    """A disc or a cross, whose values end at 4095: the upper 8 of 16 bits would be nearly black."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :24] - 12
    shapes = (x**2 + y**2 < 50, (abs(x) < 3) | (abs(y) < 3))
    for name, shape in zip(CLASSES, shapes, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            values = rng.normal(700, 90, shape.shape) + 1900 * np.roll(shape, tuple(rng.integers(-2, 3, 2)), (0, 1))
            values[0, 0] = 4095
            Image.fromarray(values.clip(0, 4095).astype(np.uint16)).save(folder / name / f"{i:03}.png")


def test_the_script_says_what_the_evaluation_counted(empty: Path) -> None:
    write_scans(empty / "scans", 24)
    for words in (
        ("train-supernet", "--data", "scans", "--out", "run", "--space", "mbv3-tiny", "--epochs", "1", "--batch-size",
         "16", "--workers", "0", "--lr", "0.01"),
        ("search", "--run", "run", "--measurements", "4", "--compare", "none"),
        ("export", "--run", "run", "--out", "shipped"),
    ):  # fmt: skip
        result = invoke(*words)
        assert result.code == 0, result.err
    facts = json.loads(Path("shipped/architecture.json").read_text())
    assert facts["input"]["levels"] == [0, 4095]
    assert json.loads(Path("shipped/config.json").read_text())["preparation"]["levels"] == [0, 4095]
    card = Path("shipped/README.md").read_text()
    assert "0 becomes 0 and 4095 becomes 255: a value v becomes (v - 0) * 256 // 4096 in files of whole" in card
    assert "| classes | blob, cross |" in card
    assert 'decode("photo.jpg", levels=(0, 4095))' in card

    dataset = open_trained(Run(empty / "run")).dataset
    assert dataset.info.levels == (0, 4095)
    for number in dataset.splits["test"]:
        name = dataset.images.name(int(number))
        Path("test", name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("scans", name), Path("test", name))
    said = run_script(Path("shipped/classify_litert.py"), "shipped/model.int8.tflite", "test")
    assert said.code == 0, said.err
    counted = facts["results"][-1]
    found = re.search(r"^accuracy .* %: (\d+) of the (\d+) images", said.out, re.MULTILINE)
    assert found is not None
    assert [int(text) for text in found.groups()] == [counted["correct"], counted["images"]]
