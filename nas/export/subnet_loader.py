"""What rebuilds a network of any model from its folder with torch and the model's own code: a recipe, and a script."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from search_spaces.builders.rebuild import REBUILDING
from search_spaces.builders.timm_model import OPTIONS, PACKAGES
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
_TIMM = '''
def base_network(name, options, num_classes, in_chans):
    """The model of timm that the network was cut from, with random weights."""
    if ":" in name or not set(options) <= OPTIONS:  # timm would read other files
        raise ValueError("recipe.json asks timm for more than a network")
    import timm

    return timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **options)
'''
_PACKAGE = '''
def base_network(name, options, num_classes, in_chans):
    """The model that the network was cut from, with random weights."""
    if not name.startswith("{prefix}"):
        raise ValueError("recipe.json asks for a model of another package than {prefix}")
    return {function}(name.removeprefix("{prefix}"), options, num_classes, in_chans)
'''
_LOAD = '''
def load(folder=None, build=None):
    """The network, in eval mode.

    build makes the model that it was cut from: build(num_classes=..., in_chans=...). None: its package does, by its
    name.
    """
    from safetensors.torch import load_file

    folder = pathlib.Path(folder or pathlib.Path(__file__).parent)
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    base = recipe.get("base") if isinstance(recipe, dict) else None
    if not isinstance(base, dict) or not {"model", "options", "num_classes", "in_chans"} <= set(base):
        raise ValueError("recipe.json does not say in `base` which model the network is cut from")
    ends = {"num_classes": base["num_classes"], "in_chans": base["in_chans"]}
    if not all(type(count) is int and 0 < count <= 10**7 for count in ends.values()):
        raise ValueError(f"recipe.json asks for {ends}")
    if build is not None:
        model = build(**ends)
    elif str(base["model"]).startswith("code:"):
        raise ValueError("give build, the function " + base["model"].removeprefix("code:") + ": load(build=...)")
    else:
        model = base_network(str(base["model"]), base["options"], **ends)
    try:
        network = shrink(model, recipe)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"recipe.json is not a recipe of {base['model']!s:.100}: {error}") from None
    network.load_state_dict(load_file(str(folder / "model.safetensors")))
    return network.eval()
'''


def recipe_content(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """Content of ``recipe.json``: the recipe of a network as its manifest has it, and the model that it is cut from."""
    recipe = spec["recipe"]
    assert isinstance(recipe, Mapping)
    return {"base": {key: spec[key] for key in _BASE}, **recipe}


def subnet_loader_source(model: str) -> str:
    """Text of ``load_subnet.py`` for a network that is cut from a model, by its name in the recipe."""
    package = next((prefix for prefix in PACKAGES if model.startswith(prefix)), None)
    functions = "\n\n".join(inspect.getsource(function) for function in REBUILDING)
    if package is None:
        return f"{_HEAD}OPTIONS = {set(OPTIONS)}\n\n\n{functions}\n{_TIMM}\n{_LOAD}"
    builds = PACKAGES[package]
    base = _PACKAGE.format(prefix=package, function=builds.__name__)
    return f"{_HEAD}{functions}\n\n{inspect.getsource(builds)}\n{base}\n{_LOAD}"
