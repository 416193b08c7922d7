"""Spaces around a named timm model: ``timm:NAME``, or with choices, ``timm:NAME:width=0.5,1:resolution=128,160``.

The largest network of such a space is the named model exactly, so its pretrained weights fit. The name says
everything: it is what a run stores.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.space import Family, SearchSpace

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"

FAMILIES = {
    "EfficientNet": "efficientnet",
    "MobileNetV3": "efficientnet",
    "ResNet": "resnet",
    "ConvNeXt": "convnext",
    "VisionTransformer": "vit",
    "VisionTransformerDistilled": "vit",
}
"""Class of a timm model -> the module here whose ``derive`` makes its family."""


@dataclass(frozen=True)
class Options:
    """Choices around a named model. Fractions are of the model's own values, and 1 is always among them.

    A family leaves out what its networks cannot vary. Empty: the family's default.

    Attributes:
        width: fractions of the channels of a stage, or of the embedding.
        depth: fractions of the blocks of a stage, or of the network.
        kernel: sides of depthwise kernels; a block takes those up to its own.
        expand: fractions of a block's expansion, or of its MLP ratio.
        heads: fractions of a block's attention heads.
        resolution: sides of the input image in pixels.
    """

    width: tuple[float, ...] = ()
    depth: tuple[float, ...] = ()
    kernel: tuple[int, ...] = ()
    expand: tuple[float, ...] = ()
    heads: tuple[float, ...] = ()
    resolution: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Named:
    """A model that timm knows by name, as timm builds it.

    Attributes:
        name: with its pretrained tag, if one was given.
        model: without storage.
        arguments: what timm passes to the model's class.
        resolution: side of the image it was made for.
    """

    name: str
    model: nn.Module
    arguments: dict[str, Any]
    resolution: int


Derive = Callable[[Named, Options], Family]


def unsupported(named: Named, reason: str) -> UserError:
    """The error of a model that cannot be made elastic."""
    return UserError(f"{PREFIX}{named.name} is not supported because {reason}")


def fractions(given: tuple[float, ...], default: tuple[float, ...]) -> tuple[float, ...]:
    """Ascending fractions, 1 included."""
    return tuple(sorted({*(given or default), 1.0}))


def depths(blocks: int, options: Options, default: tuple[float, ...] = (0.5, 1.0)) -> tuple[int, ...]:
    """Choices for a number of blocks."""
    return tuple(sorted({max(1, round(blocks * f)) for f in fractions(options.depth, default)}))


def multiples(
    value: int, options: tuple[float, ...], step: int = 8, default: tuple[float, ...] = (0.75, 1.0)
) -> tuple[int, ...]:
    """Choices for a number of channels: multiples of ``step`` below ``value``, and ``value`` itself."""
    wanted = {max(step, round(value * f / step) * step) for f in fractions(options, default) if f < 1}
    return tuple(sorted({w for w in wanted if w < value} | {value}))


def resolutions(named: Named, options: Options, step: int = 32) -> tuple[int, ...]:
    """Choices for the image side: as given, or four from 4/7 of the model's own up to it in multiples of ``step``.

    Raises:
        UsageError: a given one is no multiple of ``step`` where the model demands it (see callers).
    """
    if options.resolution:
        return tuple(sorted(set(options.resolution)))
    own = named.resolution
    return tuple(sorted({max(step, round(own * f / 7 / step) * step) for f in (4, 5, 6)} - {own} | {own}))


@lru_cache(maxsize=64)
def derived_space(name: str) -> SearchSpace:
    """The space of a name that begins with ``timm:``.

    Raises:
        UsageError: unknown timm model or option, or a resolution that the network cannot take.
        UserError: a model that cannot be made elastic; the message says why.
    """
    model_name, options = _parse(name)
    named = _named(model_name)
    kind = type(named.model).__name__
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise unsupported(named, f"no family here can slice timm's class {kind}; supported classes: {known}")
    derive: Derive = importlib.import_module(f".{FAMILIES[kind]}", __package__).derive
    space = SearchSpace(name, derive(named, options), f"around timm's {model_name}", timm_name=model_name)
    _check(space)
    return space


def _parse(name: str) -> tuple[str, Options]:
    model, *rest = name.removeprefix(PREFIX).split(":")
    known = {f.name for f in fields(Options)}
    options: dict[str, Any] = {}
    for part in rest:
        key, _, text = part.partition("=")
        if key not in known:
            raise unknown_name("choice", key, known, f"in '{name}'")
        whole = key in ("kernel", "resolution")
        try:
            values = tuple((int if whole else float)(v) for v in text.split(","))
        except ValueError:
            raise UsageError(
                f"'{part}' in '{name}': give numbers, like {key}={'96,128' if whole else '0.5,1'}"
            ) from None
        if min(values) <= 0 or (not whole and max(values) > 1):
            raise UsageError(
                f"'{part}' in '{name}': " + ("give numbers above 0" if whole else "fractions lie above 0, up to 1")
            )
        options[key] = values
    return model, Options(**options)


def _named(name: str) -> Named:
    from search_spaces.builders.no_init import NoInit
    from search_spaces.builders.timm_compat import timm
    from search_spaces.builders.timm_model import constructor_arguments

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    base, _, tag = name.partition(".")
    if tag and name not in (tagged := timm.list_models(f"{base}.*", pretrained=True)):
        raise unknown_name("pretrained tag", tag, [each.partition(".")[2] for each in tagged], f"of {base}")
    with NoInit():
        model, arguments = constructor_arguments(name)
    facts: Any = model.pretrained_cfg
    size = facts.get("input_size") or (3, 224, 224)
    return Named(name, model, arguments, int(size[-1]))


def _check(space: SearchSpace) -> None:
    """Run the smallest network on every resolution, without storage."""
    import torch

    smallest = space.build(space.smallest, 10, 3, "meta").eval()
    for resolution in space.genes[space.index["resolution"]].choices:
        try:
            with torch.no_grad():
                smallest(torch.empty(1, 3, int(resolution), int(resolution), device="meta"))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{space.name} cannot take images of {resolution} px: {reason}") from None
