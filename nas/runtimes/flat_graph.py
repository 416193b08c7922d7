"""What writers of files ask of a flat graph: the shapes of its results, and all arguments of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .runtime import ImageShape


def shapes_of(module: fx.GraphModule, image_shape: ImageShape, batch: int) -> dict[fx.Node, torch.Size]:
    """The shapes of all results of a network for a number of images; nothing is computed."""
    shapes = _Shapes(module)
    shapes.run(torch.empty(batch, *image_shape, device="meta"))
    return shapes.found


class _Shapes(fx.Interpreter):
    """Runs a network on tensors without values, and notes the shapes of all results."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            result = result.to("meta")
            self.found[n] = result.shape
        return result


def arguments_of(node: fx.Node) -> Sequence[Any]:
    """All arguments of a call in the order of the operator's schema, those left out by their defaults."""
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    defaults = [argument.default_value for argument in target._schema.arguments]
    given = [*node.args, *defaults[len(node.args) :]]
    return [node.kwargs.get(name, value) for name, value in zip(names, given, strict=True)]


def pair_of(values: int | Sequence[int]) -> list[int]:
    """Height and width, where PyTorch takes one number for both."""
    several = [values] if isinstance(values, int) else list(values)
    return several * 2 if len(several) == 1 else several
