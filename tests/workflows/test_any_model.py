"""A space around a model that nothing here knows, from training to the exported folder, by the commands alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from nas.store.files import load_tensors
from search_spaces.builders.timm_model import TimmSpec
from tests.support.cli_runs import invoke, write_photos

SPACE = "timm:test_byobnet:resolution=32:width=0.5"


def test_train_search_export_and_tune(empty: Path) -> None:
    photos = write_photos(empty / "photos", count=12)
    train = ("train-supernet", "--data", photos, "--space", SPACE, "--out", "run", "--batch-size", "8")
    for words in (
        (*train, "--epochs", "1", "--workers", "0", "--strategy", "sandwich"),
        ("search", "--run", "run", "--measurements", "4", "--precision", "fp32"),
        ("export", "--candidate", "smallest", "--run", "run"),
        ("finetune", "smallest", "--run", "run", "--epochs", "0.5"),
        ("report", "--run", "run"),
    ):
        result = invoke(*words)
        assert result.code == 0, (words, result.err)
    folders = [path for path in (empty / "run" / "export").iterdir() if path.is_dir()]
    folder = next(path for path in folders if "tuned" not in path.name)
    found = json.loads((folder / "architecture.json").read_text())
    assert "model.fp32.onnx" in found["files"]
    assert "in place of the target's format litert, which cannot hold" in found["remarks"]["model.fp32.onnx"]
    assert found["timm"]["recipe"]["shapes"]
    assert {"recipe.json", "load_subnet.py", "timm_subnet.py"} <= {path.name for path in folder.iterdir()}
    model = TimmSpec.from_json(found["timm"]).build().eval()
    model.load_state_dict(load_tensors(folder / "model.safetensors")[0])
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
