"""A user's way through the whole tool: a folder of photos in, a checked int8 file out, by the command line alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.image_folder import write_image_folder
from tests.support.cli_runs import invoke
from tests.support.shared_data import shared_file

DATA = shared_file("images/clothing10_jpeg64.npz")
PER_CLASS = {"train": 60, "val": 10, "test": 10}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not DATA.is_file(), reason=f"needs {DATA.name} in {DATA.parent} (NAS_BENCH_DATA overrides)"),
]


def nas(*words: str) -> str:
    """Standard output of a command."""
    result = invoke(*words)
    assert result.code == 0, result.err
    return result.out


def nas_alone(*words: str) -> str:
    """Standard output of a command that starts processes, and therefore has one of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(empty: Path) -> Path:
    """The working directory, with ``clothing/<split>/<class>/<number>.jpg``, some 60 photos a class to train on."""
    write_image_folder(DATA, empty / "clothing")
    for split, count in PER_CLASS.items():
        for by_class in (empty / "clothing" / split).iterdir():
            for surplus in sorted(by_class.iterdir())[count:]:
                surplus.unlink()
    return empty


def test_from_photos_to_an_int8_file(folder: Path) -> None:
    trained = json.loads(
        nas_alone("train-supernet", "--data", "clothing", "--space", "mbv3-tiny", "--epochs", "4", "--batch-size",
                  "16", "--lr", "0.05", "--json")
    )  # fmt: skip
    with np.load(DATA) as file:
        assert trained["data"]["classes"] == sorted(str(c) for c in file["classes"])
    assert trained["data"]["in_chans"] == 3
    assert set(trained["data"]["counts"]) == {"train", "search", "test"}

    table = nas("search", "--measurements", "6")
    rows = dict(re.findall(r"^\s*([0-9a-f]{8}-int8)\s+[\d.]+\s+([\d.]+)\s", table, re.MULTILINE))
    assert rows, table

    exported: list[dict[str, Any]] = json.loads(nas("export", "--json"))
    path, images = Path(exported[0]["path"]), trained["data"]["counts"]["test"]
    stated = float(rows[exported[0]["candidate"]])
    evaluated = json.loads(nas("evaluate", str(path / "model.int8.tflite"), "--json"))
    assert evaluated["images"] == images
    one_image = 100 / images
    assert abs(100 * evaluated["value"] - stated) <= max(0.2, one_image) + 0.005  # the table rounds
    assert evaluated["value"] == exported[0]["results"][-1]["value"]

    # better than guessing, by far more than chance allows
    assert evaluated["low"] > 0.1, evaluated
    assert (folder / path / "model.safetensors").exists()
    assert (folder / path / "README.md").exists()
