"""Spaces around a named timm model: ``timm:NAME``, or with choices, ``timm:NAME:width=0.5,1:resolution=128,160``.

The largest network of such a space is the named model exactly, so its pretrained weights fit. The name says
everything: it is what a run stores, so what a name means never changes. Where better choices are found, a name that a
user types stands for a longer one from then on, see :func:`spell_out`.
"""

from __future__ import annotations

import copy
import importlib
import math
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from search_spaces.architecture import Interface
from search_spaces.builders.hf_model import PREFIX as HF
from search_spaces.builders.hf_model import spell_out_hf
from search_spaces.builders.own_code import spell_out_own
from search_spaces.builders.typed_code import PREFIX as OWN
from search_spaces.errors import UsageError, UserError, first_line, unknown_name
from search_spaces.space import Family, SearchSpace

from ._deriving import derive
from .any_model import AnyFamily
from .options import PREFIX, Named, Options

FAMILIES = {
    "EfficientNet": "efficientnet",
    "MobileNetV3": "efficientnet",
    "ResNet": "resnet",
    "ConvNeXt": "convnext",
    "VisionTransformer": "vit",
    "VisionTransformerDistilled": "vit",
}
"""Class of a timm model -> the module here whose ``derive`` makes its family."""

WORDS = {"free": "block", "family": "any"}
"""Choices that aren't numbers, and the one word of each."""

WIDTHS = ":width=0.75,0.875"
"""Choices of a new space whose user names no widths; those of a name without ``width`` are 0.75 and 1."""


def spell_out(word: str) -> str:
    """The name of the space that a user means today: of a word such as ``timm:NAME``, with the widths that are now
    usual. Other names are what they are."""
    if word.startswith(OWN):
        return spell_out_own(word)
    if word.startswith(HF):
        return spell_out_hf(word)
    options = word.removeprefix(PREFIX).split(":")[1:]
    chosen = any(option.startswith("width=") for option in options)
    return word if chosen or not word.startswith(PREFIX) else word + WIDTHS


@lru_cache(maxsize=64)
def derived_space(name: str) -> SearchSpace:
    """The space of a name that begins with ``timm:``. Raises UsageError where the model or an option is unknown or the
    network cannot take a resolution, and UserError where it cannot be made elastic."""
    model_name, options = _parse(name)
    named = _look_at(model_name)
    space = SearchSpace(name, _family(named, options), f"around timm's {model_name}", timm_name=model_name)
    if not isinstance(space.family, AnyFamily):  # it has run on every one
        _check(space)
    return space


def _family(named: Named, options: Options) -> Family:
    """The family of a model's class; where there is none, or it refuses the model, that of any model."""
    kind = type(named.model).__name__
    if kind in FAMILIES and not options.family:
        if options.free:
            raise UsageError(f"free={options.free} in a space around {named.name}: its family has none; add family=any")
        try:
            family: Family = importlib.import_module(f".{FAMILIES[kind]}", __package__).derive(named, options)
            return family
        except UsageError:
            raise
        except UserError:
            pass  # whatever it cannot slice
    return derive(named, options)


def _parse(name: str) -> tuple[str, Options]:
    model, *rest = name.removeprefix(PREFIX).split(":")
    return model, parse_choices(rest, name.removesuffix(WIDTHS))


def parse_choices(parts: Sequence[str], said: str) -> Options:
    """Choices such as ``width=0.5,1``, of a name that a user ``said``. Raises UsageError where one is unknown or not
    made of numbers that it can have."""
    known = {f.name for f in fields(Options)}
    options: dict[str, Any] = {}
    for part in parts:
        key, _, text = part.partition("=")
        if key not in known:
            raise unknown_name("choice", key, known, f"in '{said}'")
        if key in WORDS:
            if text != WORDS[key]:
                raise UsageError(f"'{part}' in '{said}': the one word is {key}={WORDS[key]}")
            options[key] = text
            continue
        whole = key in ("kernel", "resolution")
        try:
            values = tuple((int if whole else float)(v) for v in text.split(","))
        except ValueError:
            like = "96,128" if whole else "0.5,1"
            raise UsageError(f"'{part}' in '{said}': give numbers, like {key}={like}") from None
        if not all(0 < value <= (math.inf if whole else 1) for value in values):  # nan isn't a fraction either
            rule = "give numbers above 0" if whole else "fractions lie above 0, up to 1"
            raise UsageError(f"'{part}' in '{said}': {rule}")
        options[key] = values
    return Options(**options)


def is_timm(name: str) -> bool:
    """Whether timm has a model of this name, which may have options after it: ``resnet18:width=0.5``."""
    from search_spaces.builders.timm_compat import timm

    return bool(timm.is_model(name.partition(":")[0]))


def _look_at(name: str) -> Named:
    """A named timm model on ``meta``, and the arguments that timm passes to its class."""
    from search_spaces.builders.timm_compat import NoInit, timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    base, _, tag = name.partition(".")
    if tag and name not in (tagged := timm.list_models(f"{base}.*", pretrained=True)):
        raise unknown_name("pretrained tag", tag, [each.partition(".")[2] for each in tagged], f"of {base}")
    arguments: dict[str, Any] = {}
    module: Any = sys.modules[timm.model_entrypoint(name).__module__]
    build = getattr(module, "build_model_with_cfg", timm.models.build_model_with_cfg)

    def record(model_class: Any, *args: Any, **kwargs: Any) -> Any:
        def construct(**given: Any) -> Any:
            arguments.update(copy.deepcopy(given))
            return model_class(**given)

        return build(construct, *args, **kwargs)

    with NoInit(), patch.object(module, "build_model_with_cfg", record, create=True):
        model = timm.create_model(name, device="meta")
    size = model.pretrained_cfg.get("input_size") or (3, 224, 224)
    return Named(name, model, arguments, int(size[-1]))


def _check(space: SearchSpace) -> None:
    """Run the smallest network on every resolution, without storage."""
    import torch

    smallest = space.build(space.smallest, Interface(3, 10), "meta").eval()
    for resolution in space.genes[space.index["resolution"]].choices:
        try:
            with torch.no_grad():
                smallest(torch.empty(1, 3, int(resolution), int(resolution), device="meta"))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UsageError(f"{space.name} cannot take images of {resolution} px: {first_line(error)}") from None
