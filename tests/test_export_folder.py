"""What `nas export` leaves: a folder that needs timm alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from cli_runs import invoke

import nas.export.onnx
import nas.files
import nas.measure
import nas.train
from nas.candidates import Candidate
from nas.run import Run
from nas.workflow import open_trained
from search_spaces.architecture import Architecture

_ALONE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nas", "search_spaces", "predictors", "cli"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
import torch
torch.set_num_threads(1)
try:
    import torchvision
except RuntimeError:  # built for another torch; timm only needs it to import
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
except ImportError:
    pass
"""
_USE = """
from PIL import Image
image = Image.open("photo.jpg").convert("L" if facts["input"]["input_size"][0] == 1 else "RGB")
pixels = transform(image)[None]
with torch.no_grad():
    torch.save({"pixels": pixels, "logits": model(pixels)}, "out.pt")
assert not {"nas", "search_spaces", "predictors"} & set(sys.modules)
"""


def test_the_exported_folder_needs_timm_alone(here: Path, finished: Path) -> None:
    """The model card's own code in an interpreter without this project, against the supernet's calibrated subnet."""
    (folder,) = (here / "run" / "export").iterdir()
    alone = shutil.copytree(folder, here / "alone")
    shutil.copy(finished / "photos" / "plum" / "000.jpg", alone / "photo.jpg")
    card = (alone / "README.md").read_text()
    loading, quantized = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    script = here / "script.py"
    onnx = quantized + "\nimport numpy\nnumpy.save('onnx.npy', logits)\n"
    script.write_text(_ALONE + loading + _USE + onnx)
    done = subprocess.run(
        [sys.executable, "-I", script], cwd=alone, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.load(alone / "out.pt")
    trained = open_trained(Run(here / "run"))
    facts = json.loads((alone / "architecture.json").read_text())
    candidate = Candidate(Architecture.from_dict(facts["architecture"]), facts["precision"])
    shipped = nas.measure.ship(trained.net, trained.dataset, candidate)
    with torch.no_grad():
        assert torch.equal(found["logits"], shipped.model(found["pixels"]))
    onnx_model = nas.export.onnx.load_onnx(alone / "model.int8.onnx")
    assert np.allclose(np.load(alone / "onnx.npy"), onnx_model(found["pixels"]), atol=1e-5)


def test_the_card_states_the_files_own_accuracy(here: Path) -> None:
    (folder,) = (here / "run" / "export").iterdir()
    facts = json.loads((folder / "architecture.json").read_text())
    measured = invoke("evaluate", folder / "model.int8.onnx", "--json").json
    assert measured["value"] == facts["results"][-1]["value"]
    assert f"| {100 * measured['value']:.2f} % |" in (folder / "README.md").read_text()
