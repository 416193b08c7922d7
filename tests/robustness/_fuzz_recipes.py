"""Recipes of networks, which anybody may have written."""

from __future__ import annotations

import json
import random
from pathlib import Path

from search_spaces.schema import SchemaError
from tests.robustness._fuzz_mutate import tree
from tests.robustness._fuzz_registry import Case, Seeds, parser


@parser("recipe", SchemaError)
def recipes(seeds: Seeds, folder: Path) -> Case:
    """Read, compared with the model, and used: what is refused is refused in words, and nothing grows."""
    import torch

    from nas.store.exports import EstimateManifest
    from search_spaces.architecture import Interface
    from search_spaces.builders.timm_compat import NoInit, timm
    from search_spaces.builders.timm_model import TimmSpec, build_foreign
    from search_spaces.schema import convert
    from search_spaces.tracing.derive import derive
    from search_spaces.tracing.inputs import Inputs
    from search_spaces.tracing.recipe import Recipe, write_recipe

    with NoInit():
        model = timm.create_model("test_byobnet", num_classes=10, device="meta").eval()
    elastic = derive(model, Inputs((torch.empty(1, 3, 64, 64, device="meta"),)))
    valid = json.loads(json.dumps(write_recipe(elastic.recipe(elastic.smallest()))))
    size = sum(parameter.numel() for parameter in model.parameters())
    spec = TimmSpec("test_byobnet", Interface(3, 10)).to_json()
    manifest = {
        "input": {"input_size": [3, 64, 64]},
        "candidate": "x",
        "precision": "fp32",
        "target": {"name": "x"},
    }

    def case(rng: random.Random) -> None:
        content = tree(valid, rng)
        if rng.random() < 0.3:
            convert(content, Recipe, "recipe")
        else:
            facts = convert({**manifest, "timm": {**spec, "recipe": content}}, EstimateManifest)
            network = build_foreign(TimmSpec.from_json(facts.timm), "a file", "meta")
            assert sum(parameter.numel() for parameter in network.parameters()) <= size

    return case
