"""What the float network computes on calibration images: the range that each grid must cover, and moments of layers.

Three ways to choose a range:

- ``minmax``: all values;
- ``percentile``: the middle 99.99 % of a tensor's values;
- ``mse``: the range whose grid has the least squared error, of rounding inside and of saturation outside.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from search_spaces.errors import UserError

from .correct import Moments, moments
from .grids import STEPS

RANGES = ("minmax", "percentile", "mse")
BATCH = 64  # images at once: large enough for the operators' overhead, small enough for the caches

_SAMPLE = 8192  # values of a tensor and a batch that percentiles and squared errors are estimated from
_OUTSIDE = 0.5e-4  # share of values below a percentile range, and above it
_BINS = 512

Range = tuple[float, float]


@dataclass
class Observed:
    """What a network computed on images.

    Attributes:
        low, high: node name -> smallest and largest value.
        samples: node name -> some of the values, one tensor a batch.
        moments: layer's node name -> mean and standard deviation ``[out]`` of its results over the first batch.
    """

    low: dict[str, Tensor] = field(default_factory=dict)
    high: dict[str, Tensor] = field(default_factory=dict)
    samples: dict[str, list[Tensor]] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)


def choose_ranges(
    graph: fx.GraphModule, images: Tensor, limits: Mapping[str, Range], ranges: str, watched: Collection[str]
) -> tuple[dict[str, Range], dict[str, Moments]]:
    """Ranges of results of the float network, and moments of its layers' results.

    Args:
        graph: of ``quantize_graph.capture``.
        images: normalised, ``[n, C, H, W]``.
        limits: node name, for every range wanted -> interval beyond which values do not matter.
        ranges: one of :data:`RANGES`.
        watched: node names of layers whose moments are wanted.

    Returns:
        Node name -> range; layer's node name -> mean and standard deviation ``[out]`` over the first :data:`BATCH`
        images.

    Raises:
        UserError: values that are not finite.
    """
    seen = _Observer(graph, limits, ranges != "minmax", watched).observe(images)
    found = {}
    for name in seen.low:
        low, high = float(seen.low[name]), float(seen.high[name])
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(
                f"cannot quantize: values at '{name}' are not finite; check the images and the training run"
            )
        limit = limits[name]
        if ranges == "percentile":
            low, high = _percentiles(torch.cat(seen.samples[name]))
        low, high = max(low, limit[0]), min(high, limit[1])
        if ranges == "mse":
            low, high = least_error_range(torch.cat(seen.samples[name]), low, high)
        found[name] = (low, high)
    return found, seen.moments


def least_error_range(values: Tensor, low: float, high: float) -> Range:
    """The range inside ``[low, high]`` whose 8-bit grid has the least mean squared error on ``values`` ``[n]``.

    A value inside is rounded, with a mean squared error of ``step**2 / 12``, a value outside is moved to the end.
    Values outside ``[low, high]`` count as lying at its end, zeros cost nothing.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    values = values[values != 0].clamp(low, high)
    if high - low <= 0 or len(values) == 0:
        return low, high
    counts = torch.histc(values, _BINS, low, high).double()
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2

    def moved(bounds: Tensor, above: bool) -> Tensor:
        beyond = centres[None] - bounds[:, None]
        beyond = beyond.clamp_min(0) if above else beyond.clamp_max(0)
        return (beyond.square() * counts).sum(1)

    highs, lows = edges[edges > 0], edges[edges < 0]
    cost_high, cost_low = moved(highs, True), moved(lows, False)
    for _ in range(2):  # one end at a time, the other fixed
        if len(highs):
            noise = ((highs - low) / STEPS).square() / 12 * len(values)
            high = float(highs[(noise + cost_high).argmin()])
        if len(lows):
            noise = ((high - lows) / STEPS).square() / 12 * len(values)
            low = float(lows[(noise + cost_low).argmin()])
    return low, high


def _percentiles(values: Tensor) -> Range:
    order = values.sort().values
    skipped = math.ceil(_OUTSIDE * (len(order) - 1))
    return float(order[skipped]), float(order[len(order) - 1 - skipped])


class _Observer(fx.Interpreter):
    """Runs the float network and looks at the results."""

    def __init__(
        self, graph: fx.GraphModule, names: Mapping[str, Range], sampled: bool, watched: Collection[str]
    ) -> None:
        super().__init__(graph)
        self.seen = Observed()
        self.names, self.sampled, self.watched = names, sampled, watched

    def observe(self, images: Tensor) -> Observed:
        for batch in images.split(BATCH):
            self.run(batch)
        return self.seen

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and not isinstance(result, Tensor):
            raise UserError(f"cannot quantize this network: '{n.name}' ({n.target}) gives several tensors at once")
        if n.name in self.watched and n.name not in self.seen.moments:
            self.seen.moments[n.name] = moments(result)
        if n.name in self.names:
            self.look(n.name, result)
        return result

    def look(self, name: str, result: Tensor) -> None:
        seen = self.seen
        low, high = torch.aminmax(result)
        seen.low[name] = torch.minimum(seen.low.get(name, low), low)
        seen.high[name] = torch.maximum(seen.high.get(name, high), high)
        if self.sampled:
            step = max(1, result.numel() // _SAMPLE)
            while math.gcd(step, result.numel()) > 1:  # a common divisor would see some columns or channels only
                step += 1
            seen.samples.setdefault(name, []).append(result.flatten()[::step])
