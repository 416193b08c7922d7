"""Spaces around models of torchvision and transformers, from training to the exported folder, by the commands alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.store.files import load_tensors
from search_spaces.builders.hf_model import hf_network
from search_spaces.builders.timm_model import TimmSpec, build_foreign
from tests.support.bare_interpreter import begin
from tests.support.cli_runs import invoke, write_photos
from tests.support.long_forms import LONG

pytestmark = LONG

SETTINGS = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 2, 1, 1], "image_size": 64}
ALONE = """
from load_subnet import load
images, wanted = torch.load("../images.pt")
network, program = load(), torch.export.load("model.pt2").module()
with torch.no_grad():
    print(torch.equal(network(images), wanted), torch.equal(program(images), wanted))
print([name for name in sys.modules if name.split(".")[0] in ("nas", "search_spaces", "predictors", "timm")])
"""


def follow(space: str, precision: str, more: tuple[str, ...] = ()) -> Path:
    """Train, search and export few images; the exported folder."""
    train = ("train-supernet", "--data", "photos", "--space", space, "--out", "run", "--batch-size", "8", *more)
    for words in (
        (*train, "--epochs", "1", "--workers", "0", "--strategy", "sandwich"),
        ("search", "--run", "run", "--measurements", "4", "--precision", precision, "--compare", "none"),
        ("export", "--candidate", "smallest", "--run", "run", "--out", "shipped"),
        ("estimate", "shipped"),
    ):
        result = invoke(*words)
        assert result.code == 0, (words, result.err)
    return Path("shipped")


def check(folder: Path) -> None:
    """The network is built by its package alone, and by none."""
    found = json.loads((folder / "architecture.json").read_text())
    assert "model.pt2" in found["files"]
    model = build_foreign(TimmSpec.from_json(found["timm"]), "it").eval()
    model.load_state_dict(load_tensors(folder / "model.safetensors")[0])
    images = torch.randn(2, *found["input"]["input_size"])
    with torch.no_grad():
        torch.save((images, model(images)), "images.pt")
    words = [sys.executable, "-I", "-c", begin() + ALONE]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True", "[]"]
    assert "library_name: timm" not in (folder / "README.md").read_text()


def test_torchvision(empty: Path) -> None:
    write_photos(empty / "photos", count=12)
    folder = follow("torchvision:squeezenet1_1:width=0.5:resolution=64", "int8")
    check(folder)
    assert (folder / "model.int8.tflite").exists()


def test_transformers(empty: Path) -> None:
    """From a folder with weights of other classes."""
    pytest.importorskip("transformers")
    write_photos(empty / "photos", count=12)
    network = hf_network("convnextv2", SETTINGS, 7, 3)
    network.network.save_pretrained("net")
    folder = follow("hf:net:width=0.5", "fp32", ("--init", "net/model.safetensors"))
    check(folder)
    run = json.loads(Path("run/run.json").read_text())
    assert run["config"]["space"].startswith("hf:net@")
