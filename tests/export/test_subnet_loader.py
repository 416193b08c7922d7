"""A folder with a recipe: an interpreter without this project rebuilds the network, to the bit."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.export.subnet_loader import RECIPE, SUBNET_LOADER, recipe_content, subnet_loader_source
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from tests.support.bare_interpreter import begin

LOAD = """
from load_subnet import load
network = load()
images, wanted = torch.load("images.pt")
with torch.no_grad():
    print(torch.equal(network(images), wanted))
print([name for name in sys.modules if name.split(".")[0] in ("nas", "search_spaces", "predictors")])
"""


def test_a_folder_that_is_not_whole_or_not_ours_is_refused(tmp_path: Path) -> None:
    """Tensors that are missing or of other names, and recipes that ask for more than a smaller network."""
    (tmp_path / SUBNET_LOADER).write_text(subnet_loader_source("regnety_002"))
    space = get_space("timm:regnety_002:width=0.5:resolution=64,96")
    whole = Supernet(space, Interface(3, 7)).extract(space.smallest).state_dict()
    good = json.loads(json.dumps(recipe_content(space.family.describe(space.smallest, Interface(3, 7)))))
    load = runpy.run_path(str(tmp_path / SUBNET_LOADER))["load"]

    def attempt(recipe: dict[str, object], state: dict[str, torch.Tensor]) -> None:
        (tmp_path / RECIPE).write_text(json.dumps(recipe))
        save_file(state, tmp_path / "model.safetensors")
        load(tmp_path)

    attempt(good, whole)
    without = {name: tensor for name, tensor in whole.items() if name != "head.fc.weight"}
    for state in ({}, without, whole | {"more": torch.zeros(3)}, whole | {"head.fc.bias": torch.zeros(3)}):
        with pytest.raises(RuntimeError, match=r"load_state_dict|loading state_dict"):
            attempt(good, state)
    base = good["base"]
    strange = [{"model": "hf-hub:a/b"}, {"model": "local-dir:x"}, {"options": {"checkpoint_path": "x"}},
               {"num_classes": 10**9}, {"num_classes": "7"}, {"model": "code:os.system"}]  # fmt: skip
    for change in strange:
        with pytest.raises(ValueError, match=r"recipe.json asks|give build"):
            attempt(good | {"base": base | change}, whole)
    number = ["stem.conv", "kernel_size"]
    entries = ([["stem.conv", "groups"], 2], [["stem.conv", "groups"], -5], [["stem.conv", "forward"], 1], [number, 1],
               [[*number, 7], 1], [[*number, "a"], 1], ["stem", 1], 3)  # fmt: skip
    changes = [{"set": [entry]} for entry in entries]
    changes += [{"delete": ["nowhere"]}, {"identity": [3]}, {"shapes": {"a": 1}}]
    without = {key: value for key, value in good.items() if key != "shapes"}
    for recipe in (*(good | change for change in changes), without):
        with pytest.raises(ValueError, match=r"^recipe.json is not a recipe of regnety_002: [^\n]+$"):
            attempt(recipe, whole)
    for recipe in ({}, {"base": 3}, {"base": {"model": "regnety_002"}}):
        with pytest.raises(ValueError, match=r"recipe.json does not say in `base`"):
            attempt(recipe, whole)


def test_the_loader_needs_torch_and_timm_alone(tmp_path: Path) -> None:

    space = get_space("timm:regnety_002:width=0.5:resolution=64,96")
    network = Supernet(space, Interface(3, 7)).extract(space.smallest)
    spec = space.family.describe(space.smallest, Interface(3, 7))
    (tmp_path / RECIPE).write_text(json.dumps(recipe_content(spec)))
    (tmp_path / SUBNET_LOADER).write_text(subnet_loader_source("regnety_002"))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.save((images, network(images)), tmp_path / "images.pt")
    done = subprocess.run(
        [sys.executable, "-I", "-c", begin() + LOAD],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["True", "[]"]
