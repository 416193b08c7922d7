"""Named search spaces. A new one is one line in one of the files here."""

from __future__ import annotations

from search_spaces.builders.typed_code import PREFIX as OWN
from search_spaces.errors import UsageError, unknown_name
from search_spaces.families.named import derived_space, is_timm
from search_spaces.families.options import PREFIX
from search_spaces.families.own_code import own_space
from search_spaces.families.packaged import PREFIXES, packaged_space
from search_spaces.space import SearchSpace

from . import autoformer, efficientnet, resnet

PRESETS: dict[str, SearchSpace] = {
    space.name: space for space in (*efficientnet.SPACES, *resnet.SPACES, *autoformer.SPACES)
}


def get_space(name: str) -> SearchSpace:
    """The preset of that name, or the space around a model: timm's (``timm:NAME``, see ``families.named``), another
    package's (``hf:NAME``, ``torchvision:NAME``, see ``families.packaged``) or one's own (``code:mypkg.module.build``,
    see ``families.own_code``). Raises UsageError where it is unknown, and UserError where a model cannot be made
    elastic."""
    if name.startswith(PREFIX):
        return derived_space(name)
    if name.startswith(OWN):
        return own_space(name)
    if name.startswith(PREFIXES):
        return packaged_space(name)
    if name not in PRESETS:
        if is_timm(name):
            raise UsageError(f"unknown search space '{name}'; one around timm's model is {PREFIX}{name}")
        file, words = name.endswith(".py"), name.removesuffix(".py").replace("/", ".").split(".")
        if (file or len(words) > 1) and all(map(str.isidentifier, words)):
            function = ".".join([*words, "build"] if file else words)
            raise UsageError(f"unknown search space '{name}'; a function that builds your network is {OWN}{function}")
        raise unknown_name("search space", name, PRESETS)
    return PRESETS[name]
