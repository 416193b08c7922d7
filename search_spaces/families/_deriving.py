"""Making a family around a model: what it can shrink by, and which sides of images it takes."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces.builders.base_model import BaseModel, SidedModel
from search_spaces.builders.named_model import NamedModel
from search_spaces.errors import UsageError, UserError, first_line

from ._classifiers import check_classifier
from .any_model import ALWAYS, LOOKED_AT, AnyFamily, device_of
from .options import PREFIX, Named, Options, resolutions, unsupported

if TYPE_CHECKING:
    from torch import nn

    from search_spaces.tracing.elastic import ElasticModel


def derive(named: Named, options: Options) -> AnyFamily:
    """The family around a named model of any class. Raises UsageError where it takes none of the sides of images, and
    UserError where no smaller network runs."""
    asked = bool(options.resolution)
    model, sides = _with_sides(named, resolutions(named, options), asked)
    return _family(f"{PREFIX}{named.name}", model, sides, options, asked)


def derive_sided(model: SidedModel, options: Options) -> AnyFamily:
    """The family around a model that knows its images. Raises UsageError where it doesn't take a side that is asked
    for, and UserError where it doesn't run, or nothing smaller does."""
    sides = tuple(sorted(set(options.resolution or (model.side,))))
    return _family(model.name, model.at(sides[-1]) if options.resolution else model, sides, options, asked=True)


def _family(name: str, model: BaseModel, sides: tuple[int, ...], options: Options, asked: bool) -> AnyFamily:
    """The family around a model; sides of images that it doesn't take are left out unless somebody ``asked`` for
    them. ``name``: in messages."""
    try:
        elastic = _derived(model, sides[-1], options)
    except UsageError:
        raise
    except UserError as error:
        raise UserError(f"{name} is not supported because {error}") from None
    problems = {side: problem for side in sides[:-1] if (problem := _problem(elastic, side))}
    for side, problem in problems.items():
        if asked:
            raise UsageError(f"{name} cannot take images of {side} px: {problem}")
    return AnyFamily(model, tuple(side for side in sides if side not in problems), elastic)


def _derived(model: BaseModel, side: int, options: Options) -> ElasticModel:
    """What a model can shrink by. Raises UserError where that is nothing, or it isn't a classifier."""
    import torch

    from search_spaces.tracing.choices import Shares
    from search_spaces.tracing.derive import derive_anywhere
    from search_spaces.tracing.inputs import image_of

    usual = Shares()
    shares = Shares(
        options.width or usual.width,
        options.heads or usual.heads,
        options.depth or usual.depth,
        options.kernel,
        tied=not options.free,
    )

    def build() -> nn.Module:
        return model.build(LOOKED_AT, torch.get_default_device().type)

    elastic = derive_anywhere(build, image_of(LOOKED_AT, side, "meta"), shares)
    check_classifier(elastic, LOOKED_AT.outputs)
    if not elastic.genes:
        chosen = any((options.width, options.depth, options.heads, options.kernel))
        raise UserError(
            f"nothing of it can be smaller{' with these choices: give fractions below 1' if chosen else _why(elastic)}"
        )
    return elastic


def _why(elastic: ElasticModel) -> str:
    """Why something of a model stays, in words that follow others; empty: no reason is known."""
    reasons = dict.fromkeys(each.reason for each in elastic.fixed() if not each.reason.startswith(ALWAYS))
    operators = [f"the operator {name} has no rule" for name in elastic.unknown]
    several = [*operators, *reasons]
    return f": {several[0]}" if several else ""


def _with_sides(named: Named, sides: tuple[int, ...], asked: bool) -> tuple[NamedModel, tuple[int, ...]]:
    """The model as timm builds it and those of the usual sides of images that it takes; where a user asked for sides,
    as timm builds it for them."""
    plain = NamedModel(named.name)
    ways = [plain, NamedModel(named.name, dynamic=True), NamedModel(named.name, sides[-1])] if asked else [plain]
    reasons = []
    for device in ("meta", "cpu"):
        for way in ways:
            taken, problem = _taken(way, sides, device)
            if taken == sides or (not asked and named.resolution in taken):
                return way, taken
            reasons.append((problem, taken))
    problem, taken = reasons[0]
    if not asked:
        raise unsupported(named, f"it doesn't run on images of {named.resolution} px: {problem}")
    wrong = next(side for side in sides if side not in taken)
    raise UsageError(f"{PREFIX}{named.name} cannot take images of {wrong} px: {problem}")


def _taken(model: NamedModel, sides: Sequence[int], device: str) -> tuple[tuple[int, ...], str]:
    """Sides of images that a model takes, and why not the first of the others."""
    import torch

    from search_spaces.tracing.inputs import image_of
    from search_spaces.tracing.meta import Quick

    found, problems = [], []
    try:
        whole = model.build(LOOKED_AT, device).eval()
    except Exception as error:  # whatever the model's code raises, here and below
        return (), first_line(error)
    for side in sides:
        try:
            with torch.no_grad(), Quick():
                whole(*image_of(LOOKED_AT, side, device).positional)
        except Exception as error:
            problems.append(first_line(error))
        else:
            found.append(side)
    return tuple(found), problems[0] if problems else ""


def _problem(elastic: ElasticModel, side: int) -> str:
    """Why networks cannot be compared on images of that side; empty: they can."""
    import torch

    from search_spaces.tracing.costs.amounts import match_axes
    from search_spaces.tracing.inputs import image_of
    from search_spaces.tracing.meta import Quick
    from search_spaces.tracing.trace import trace

    inputs = image_of(LOOKED_AT, side, device_of(elastic))
    try:
        with torch.no_grad(), Quick():
            elastic.build(elastic.smallest())(*inputs.positional)
        match_axes(trace(elastic.model, inputs), elastic.trace)
    except Exception as error:  # whatever the model's code raises
        return first_line(error)
    return ""
