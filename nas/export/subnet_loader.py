"""What rebuilds a network of any model from its folder with torch and the model's own code: a recipe, and a script."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from search_spaces.builders.rebuild import REBUILDING
from search_spaces.builders.timm_model import OPTIONS
from search_spaces.schema import Json

RECIPE = "recipe.json"
SUBNET_LOADER = "load_subnet.py"
_BASE = ("model", "options", "num_classes", "in_chans")

_HEAD = '''"""Builds the network of this folder, with torch, safetensors and the code that its model comes from.

    from load_subnet import load
    network = load()

recipe.json says which model it was cut from, and how; model.safetensors holds the weights.
"""

import json
import pathlib


'''
_LOAD = '''
def load(folder=None, build=None):
    """The network, in eval mode.

    build makes the model that it was cut from: build(num_classes=..., in_chans=...). None: timm does, by its name.
    """
    from safetensors.torch import load_file

    folder = pathlib.Path(folder or pathlib.Path(__file__).parent)
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    base = recipe["base"]
    ends = {"num_classes": base["num_classes"], "in_chans": base["in_chans"]}
    if not all(type(count) is int and 0 < count <= 10**7 for count in ends.values()):
        raise ValueError(f"recipe.json asks for {ends}")
    if build is None:
        if base["model"].startswith("code:"):
            raise ValueError("give build, the function " + base["model"].removeprefix("code:") + ": load(build=...)")
        if ":" in base["model"] or not set(base["options"]) <= OPTIONS:  # timm would read other files
            raise ValueError("recipe.json asks timm for more than a network")
        import timm

        model = timm.create_model(base["model"], **ends, **base["options"])
    else:
        model = build(**ends)
    network = shrink(model, recipe)
    network.load_state_dict(load_file(str(folder / "model.safetensors")))
    return network.eval()
'''


def recipe_content(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """Content of ``recipe.json``: the recipe of a network as its manifest has it, and the model that it is cut from."""
    recipe = spec["recipe"]
    assert isinstance(recipe, Mapping)
    return {"base": {key: spec[key] for key in _BASE}, **recipe}


def subnet_loader_source() -> str:
    """Text of ``load_subnet.py``."""
    functions = "\n\n".join(inspect.getsource(function) for function in REBUILDING)
    return f"{_HEAD}OPTIONS = {set(OPTIONS)}\n\n\n{functions}\n{_LOAD}"
