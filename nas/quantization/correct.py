"""What quantization does to the mean and the spread of every layer's results, measured and undone.

Rounded weights and inputs shift the mean of an output channel, and weights on few integers shrink or widen it. Both are
measured on calibration images, one layer after the other, each on the inputs that the corrected layers before it give.
The shift is subtracted from the bias (Nagel et al., arXiv:1906.04721, section 4.2, in its empirical form); below 8 bits
the scale of the weights is multiplied by the ratio of the standard deviations (Banner et al., arXiv:1810.05723, section
4.3), which is what batch norm does for a network that was trained on such weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from .grids import QLayer
from .kernels import last_layer, layer

_INT32 = torch.iinfo(torch.int32)
_LARGEST_GAIN = 4.0

Moments = tuple[Tensor, Tensor]


def moments(x: Tensor) -> Moments:
    """Mean and standard deviation ``[channels]`` of ``[n, channels, ...]``."""
    rows = x.flatten(2) if x.ndim > 2 else x[:, :, None]
    variance, mean = torch.var_mean(rows, (0, 2), correction=0)
    return mean.double(), variance.double().sqrt()


def correct(
    simulator: fx.GraphModule, layers: Mapping[str, QLayer], input_scales: Mapping[str, float],
    wanted: Mapping[str, Moments], images: Tensor,
) -> dict[str, QLayer]:  # fmt: skip
    """Layers by node name with corrected biases and, below 8 bits, weight scales.

    The simulator's tensors are changed: it must not be used afterwards.

    Args:
        input_scales: node name -> scale of the layer's input.
        wanted: node name, for every layer to correct -> moments of the float layer's results over the same images.
        images: normalised, ``[n, C, H, W]``; simulated at once.
    """
    corrector = _Corrector(simulator, layers, input_scales, wanted)
    corrector.run(images)
    return corrector.corrected


class _Corrector(fx.Interpreter):
    def __init__(
        self, simulator: fx.GraphModule, layers: Mapping[str, QLayer], input_scales: Mapping[str, float],
        wanted: Mapping[str, Moments],
    ) -> None:  # fmt: skip
        super().__init__(simulator)
        self.layers = layers
        self.corrected: dict[str, QLayer] = {}
        self.input_scales, self.wanted = input_scales, wanted

    def run_node(self, n: fx.Node) -> Any:
        # as the simulator calls a layer: (target, x, weight, bias, rest, ...), the bias named after it
        name = str(n.args[3]).removesuffix("_bias") if n.target in (layer, last_layer) else ""
        if name in self.wanted:
            self.correct(name, *self.fetch_args_kwargs_from_env(n)[0])
        return super().run_node(n)

    def correct(
        self, name: str, target: Any, x: Tensor, weight: Tensor, bias: Tensor, rest: Any, factor: Tensor, *_: Any
    ) -> None:
        own = self.layers[name]
        unit = own.weight_scale.double() * self.input_scales[name]
        mean, spread = moments(target(x, weight, bias, *rest))
        wanted_mean, wanted_spread = self.wanted[name]
        if own.bits < 8:
            gain = wanted_spread / (spread * unit)
            gain = torch.where(gain.isfinite(), gain, 1.0).clamp(1 / _LARGEST_GAIN, _LARGEST_GAIN)
            scale = (own.weight_scale.double() * gain).float()
            factor.mul_(gain.float().reshape(factor.shape))
            unit = scale.double() * self.input_scales[name]
            own = replace(own, weight_scale=scale)
        shift = (wanted_mean / unit - mean).round()
        shifted = (own.bias.double() + shift).clamp(_INT32.min, _INT32.max)
        self.corrected[name] = replace(own, bias=shifted.to(torch.int32))
        bias.copy_(shifted)
