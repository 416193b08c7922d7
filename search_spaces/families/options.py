"""Choices around a named timm model, and what families work out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Choice
from search_spaces.errors import UserError

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"
"""What the name of a space around a timm model begins with."""


@dataclass(frozen=True)
class Options:
    """Choices around a named model. Fractions are of the model's own values, and 1 is always among them.

    A family leaves out what its networks cannot vary. An empty tuple means the family's default, which never changes:
    runs store names without it.

    Attributes:
        width: fractions of the channels of a stage, or of the embedding.
        depth: fractions of the blocks of a stage, or of the network.
        kernel: sides of depthwise kernels; a block takes those up to its own.
        expand: fractions of a block's expansion, or of its MLP ratio.
        heads: fractions of a block's attention heads.
        resolution: sides of the input image in pixels.
        free: ``block`` gives every block widths of its own inside; else those of a stage share them. Of families, any
            model's alone.
        family: ``any`` takes what a run of the model shows, also where a family knows it.
    """

    width: tuple[float, ...] = ()
    depth: tuple[float, ...] = ()
    kernel: tuple[int, ...] = ()
    expand: tuple[float, ...] = ()
    heads: tuple[float, ...] = ()
    resolution: tuple[int, ...] = ()
    free: str = ""
    family: str = ""


@dataclass(frozen=True, eq=False)
class Named:
    """A model that timm knows by name (with its pretrained tag, if one was given), as timm builds it, without storage.

    ``arguments`` are what timm passes to its class, ``resolution`` is the side of the image that it was made for.
    """

    name: str
    model: nn.Module
    arguments: Mapping[str, Any]
    resolution: int


def unsupported(named: Named, reason: str) -> UserError:
    """The error of a model that cannot be made elastic."""
    return UserError(f"{PREFIX}{named.name} is not supported because {reason}")


def gate(depth: str, block: int, depths: Sequence[int]) -> tuple[str, Choice] | None:
    """When a block exists: always, or where the gene ``depth`` is large enough."""
    return (depth, block + 1) if block >= min(depths) else None


def inner_width(width: int, expand: float) -> int:
    """``width * expand`` rounded to the nearest multiple of 8, or to the next one where that loses more than 10 %.

    Once-for-All rounds so, and every MobileNet.
    """
    wanted = width * expand
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


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
    """Choices for the image side: as given, or four from 4/7 of the model's own up to it in multiples of ``step``."""
    if options.resolution:
        return tuple(sorted(set(options.resolution)))
    own = named.resolution
    return tuple(sorted({max(step, round(own * f / 7 / step) * step) for f in (4, 5, 6)} - {own} | {own}))
