"""What `nas export` leaves: a folder that needs timm alone, that the hub reads, and that a device runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import nas.candidates.ship
from nas.candidates.candidate import Candidate
from nas.export.card import model_card
from nas.export.hub import front_matter, timm_config
from nas.export.manifest import open_model
from nas.export.preparation import input_config, preparation_of
from nas.store.exports import ExportCosts, ExportTarget, Manifest, Provenance
from nas.store.files import save_tensors
from nas.store.run import Run
from nas.tasks.task import get_task
from nas.workflows.trained import open_trained
from search_spaces import PRESETS, get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.builders.timm_model import ENTRY, TimmSpec
from search_spaces.schema import convert, to_json
from tests.support.cli_runs import invoke
from tests.support.scripts import saved

_ALONE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nas", "search_spaces", "predictors", "cli"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, ".")
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
with torch.no_grad():
    pixels = transform(image)[None]
    found = {"pixels": pixels, "logits": model(pixels)}
    timm.models.save_for_hf(model, "pushed", safe_serialization=True)  # what timm writes of it, and reads
    found["pushed"] = timm.create_model("local-dir:pushed", pretrained=True).eval()(pixels)
    other = timm.create_model("local-dir:.", pretrained=True, num_classes=7).eval()  # for other classes
    found["features"] = model.forward_features(pixels), other.forward_features(pixels)
    found["classes"] = other(pixels).shape[1]
torch.save(found, "out.pt")
assert not {"nas", "search_spaces", "predictors"} & set(sys.modules)
"""


OWN = ("label_names", "model_args", "preparation")
"""Keys of ``config.json`` that timm writes elsewhere, in another way, or not at all."""


def test_the_card_followed_by_somebody_with_timm_alone(here: Path, finished: Path) -> None:
    """The card's own code in an interpreter without this project, against the supernet's calibrated subnet."""
    (folder,) = (here / "run" / "export").iterdir()
    alone = shutil.copytree(folder, here / "alone")
    shutil.copy(finished / "photos" / "plum" / "000.jpg", alone / "photo.jpg")
    card = (alone / "README.md").read_text()
    (loading,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    script = here / "script.py"
    script.write_text(_ALONE + loading + _USE)
    done = subprocess.run(
        [sys.executable, "-I", script], cwd=alone, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.load(alone / "out.pt")
    trained = open_trained(Run(here / "run"))
    facts = json.loads((alone / "architecture.json").read_text())
    shipped = nas.candidates.ship.ship(
        trained.net, trained.dataset, Candidate(Architecture.from_dict(facts["architecture"]), facts["precision"])
    )
    with torch.no_grad():
        expected = shipped.model(found["pixels"])
    assert torch.equal(found["logits"], expected)
    assert torch.equal(found["pushed"], expected)
    assert torch.equal(*found["features"])
    assert found["classes"] == 7
    assert done.stdout.split() == [facts["classes"][expected.argmax()]]

    config, pushed = (json.loads((alone / f / "config.json").read_text()) for f in (".", "pushed"))
    ours, theirs = config.pop("pretrained_cfg"), pushed.pop("pretrained_cfg")
    assert {key: theirs[key] for key in ours if key != "label_names"} == ours
    assert {key: pushed[key] for key in config if key not in OWN} == {
        key: value for key, value in config.items() if key not in OWN
    }
    assert config["model_args"].items() <= pushed["model_args"].items()
    assert config["label_names"] == theirs["label_names"] == facts["classes"]

    (command,) = re.findall(r"^python (.*)$", card, re.MULTILINE)
    script, file, photo, *_ = (alone / word for word in command.split())
    told, inputs, outputs = saved(script, here, file, photo)
    pixels = found["pixels"].numpy()
    assert np.array_equal(inputs, pixels)
    own = open_model(alone / "model.int8.tflite")(pixels)[0]
    assert np.allclose(outputs[0], own, atol=0.02 * np.ptp(own))
    assert outputs[0].argmax() == own.argmax()
    share = torch.tensor(outputs[0]).softmax(0).max()
    assert told.out.split() == [facts["classes"][own.argmax()], f"{share:.3f}", str(photo)]


def test_the_card_states_the_files_own_accuracy(here: Path) -> None:
    (folder,) = (here / "run" / "export").iterdir()
    facts = json.loads((folder / "architecture.json").read_text())
    measured = invoke("evaluate", folder / "model.int8.tflite", "--json").json
    assert measured["value"] == facts["results"][-1]["value"]
    card = (folder / "README.md").read_text()
    assert f"| {100 * measured['value']:.2f} % |" in card
    channels, height, width = facts["input"]["input_size"]
    assert f"input channels last, float32 NHWC, `[1, {height}, {width}, {channels}]`" in card


def test_an_export_into_a_folder_leaves_nothing_of_another_format(here: Path) -> None:
    (folder,) = (here / "run" / "export").iterdir()
    (folder / "classify_mine.py").touch()
    assert invoke("export", "--run", "run", "--format", "onnx", "--out", folder).code == 0
    names = {path.name for path in folder.iterdir()}
    assert {"model.int8.onnx", "classify_onnx.py", "classify_mine.py"} <= names
    assert not {"model.int8.tflite", "classify_litert.py"} & names
    assert "NHWC" not in (folder / "README.md").read_text()


def test_the_hub_reads_the_cards_front_matter(here: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (folder,) = (here / "run" / "export").iterdir()
    facts = json.loads((folder / "architecture.json").read_text())
    card = hub.ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    assert card.data.license == "unknown"
    assert {"timm", "tflite", facts["target"]["name"]} <= set(card.data.tags)
    assert "datasets" not in card.data.to_dict()  # a folder is nothing that the hub knows
    assert card.data.model_name == facts["candidate"]
    tested = [r for r in facts["results"] if r["split"] == "test"]
    assert [each.metric_value for each in card.data.eval_results] == pytest.approx([r["value"] for r in tested])
    assert {each.dataset_name for each in card.data.eval_results} == {"photos"}
    assert str(here) not in "".join(p.read_text() for p in folder.glob("*.[mj]*") if p.suffix != ".safetensors")

    told = facts | {"license": "mit", "provenance": facts["provenance"] | {"data": "hfds/some: one/weird #set"}}
    data = hub.ModelCard(front_matter(convert(told, Manifest), ["a.pte"], get_task()) + "\n# text\n").data
    assert (data.license, data.datasets) == ("mit", ["some: one/weird #set"])
    assert "Licence of the weights: mit." in model_card(convert(told, Manifest), get_task(), [], 0)


def test_a_licence_is_a_name_and_lands_in_card_and_config(here: Path) -> None:
    refused = invoke("export", "--run", "run", "--license", "Apache 2!")
    assert refused.code == 2
    assert "--license 'Apache 2!'" in refused.message


SMALL = (*PRESETS, "timm:resnet18:width=0.5,1", "timm:convnext_atto", "timm:deit_tiny_patch16_224")


@pytest.mark.parametrize("name", SMALL)
def test_what_timm_builds_without_help_is_the_described_network(name: str) -> None:
    space = get_space(name)
    plain = 0
    for architecture in (space.smallest, space.largest):
        spec = json.loads(json.dumps(space.family.describe(architecture, Interface(3, 5))))
        described = TimmSpec.from_json(spec)
        if (arguments := described.plain_arguments()) is not None:
            model = timm.create_model(spec["model"], num_classes=5, in_chans=3, device="meta", **arguments)
            assert repr(model) == repr(described.build("meta"))
            plain += 1
    assert plain or "block_args" in spec["arguments"] or "head_dim" in spec or spec["blocks"]


@pytest.mark.parametrize("name", ["timm:resnet10t:width=0.5,1:resolution=64", "autoformer-tiny"])
def test_timm_alone_loads_a_plain_folder(tmp_path: Path, name: str) -> None:
    space = get_space(name)
    spec = json.loads(json.dumps(space.family.describe(space.smallest, Interface(1, 5))))
    assert TimmSpec.from_json(spec).plain_arguments() is not None
    model = TimmSpec.from_json(spec).build().eval()
    info = types.SimpleNamespace(
        in_chans=1, mean=(0.5,), std=(0.2,), interpolation="bilinear", crop_pct=0.9, levels=(0, 4095)
    )
    manifest = Manifest(
        1, "x", "fp32", space.smallest, spec, input_config(info, 64), tuple("abcde"), "mit", ExportCosts(0, 0, 0, 0),
        ExportTarget("t", "r", 1.0, "measured"), (), Provenance("d", {}, None, "w", 0, 1, {}),
    )  # fmt: skip
    config = timm_config(model, manifest, preparation_of(manifest.input, get_task()))
    assert config["architecture"] == spec["model"] != ENTRY
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_tensors(tmp_path / "model.safetensors", model.state_dict(), {})
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert loaded.pretrained_cfg["license"] == "mit"
    resolved = timm.data.resolve_model_data_config(loaded)
    expected = to_json(manifest.input)
    assert config["preparation"]["levels"] == expected.pop("levels") == [0, 4095]
    assert {key: resolved[key] for key in expected} == expected
