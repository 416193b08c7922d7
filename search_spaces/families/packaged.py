"""Spaces around a model of a package: ``hf:NAME_OR_FOLDER`` of transformers, ``torchvision:NAME``, or with choices
after it, ``:width=0.5``.

Of a folder, a new space's name also holds a hash of its settings, ``hf:FOLDER@1a2b3c4d5e6f:width=0.5``.
"""

from __future__ import annotations

from functools import lru_cache

from search_spaces.builders.base_model import SidedModel
from search_spaces.builders.hashed_names import split_hash
from search_spaces.builders.hf_model import PREFIX as HF
from search_spaces.builders.hf_model import HfModel, check_settings_hash
from search_spaces.builders.torchvision_model import PREFIX as TORCHVISION
from search_spaces.builders.torchvision_model import TorchvisionModel
from search_spaces.space import SearchSpace

from ._deriving import derive_sided
from .named import parse_choices

PREFIXES = (HF, TORCHVISION)


@lru_cache(maxsize=16)
def packaged_space(name: str) -> SearchSpace:
    """The space of a name that begins with one of :data:`PREFIXES`. Raises UsageError where the package has no such
    classifier, and UserError where the package is missing, a folder's settings have changed, or the model cannot be
    made elastic."""
    kind = next(kind for kind in (HfModel, TorchvisionModel) if name.startswith(kind.prefix))
    word, digest, choices, typed = split_hash(name, kind.prefix)
    options = parse_choices(choices, typed)
    if digest:
        check_settings_hash(word, digest)
    model: SidedModel = kind(word)
    return SearchSpace(name, derive_sided(model, options), f"around {model.name}")
