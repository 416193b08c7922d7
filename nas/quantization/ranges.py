"""What the float network computes on calibration images: the range that each grid must cover, and moments of layers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from search_spaces.errors import UserError

from .correct import Moments, moments

BATCH = 64  # images at once: large enough for the operators' overhead, small enough for the caches

Range = tuple[float, float]


def find_ranges(
    graph: fx.GraphModule, images: Tensor, limits: Mapping[str, Range], corrected: Collection[str]
) -> tuple[dict[str, Range], dict[str, Moments]]:
    """Ranges of results of the float network, and moments ``[out]`` of its layers' results, by node name.

    Args:
        images: normalised, ``[n, C, H, W]``; moments are those of the first :data:`BATCH`.
        limits: node name, for every range wanted -> interval beyond which values do not matter.
        corrected: node names of layers whose moments are wanted.

    Raises:
        UserError: values that are not finite.
    """
    observer = _Observer(graph, limits, corrected)
    for batch in images.split(BATCH):
        observer.run(batch)
    ranges = {}
    for name, limit in limits.items():
        low, high = float(observer.low[name]), float(observer.high[name])
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(
                f"cannot quantize: values at '{name}' are not finite; check the images and the training run"
            )
        ranges[name] = max(low, limit[0]), min(high, limit[1])
    return ranges, observer.moments


class _Observer(fx.Interpreter):
    """Runs the float network and looks at the results."""

    def __init__(self, graph: fx.GraphModule, names: Collection[str], corrected: Collection[str]) -> None:
        super().__init__(graph)
        self.names, self.corrected = names, corrected
        self.low: dict[str, Tensor] = {}
        self.high: dict[str, Tensor] = {}
        self.moments: dict[str, Moments] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and not isinstance(result, Tensor):
            raise UserError(f"cannot quantize this network: '{n.name}' ({n.target}) gives several tensors at once")
        if n.name in self.corrected and n.name not in self.moments:
            self.moments[n.name] = moments(result)
        if n.name in self.names:
            low, high = torch.aminmax(result)
            self.low[n.name] = torch.minimum(self.low.get(n.name, low), low)
            self.high[n.name] = torch.maximum(self.high.get(n.name, high), high)
        return result
