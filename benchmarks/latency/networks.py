"""Published networks as timm models, for comparing predictions with published measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.latency.validation import Data
from benchmarks.support.data import data_file, read_table
from predictors.costs.network import op_features
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.genes import Floats
from search_spaces.operators.trace import trace

if TYPE_CHECKING:
    from torch import nn

# TensorFlow pads "same", inside the convolution. timm imitates that with a separate pad operator that no runtime
# executes; symmetric padding gives the same shapes for every odd kernel, and so the same costs.
TIMM = {"pretrained": False, "pad_type": "", "num_classes": 1001}


def _mobilenet_v1(width: float, **kwargs: Any) -> nn.Module:
    from timm.models.efficientnet import _gen_mobilenet_v1

    model: nn.Module = _gen_mobilenet_v1("mobilenetv1_100", width, **kwargs)
    return model


def _mobilenet_v2(width: float, **kwargs: Any) -> nn.Module:
    from timm.models.efficientnet import _gen_mobilenet_v2

    model: nn.Module = _gen_mobilenet_v2("mobilenetv2_100", width, **kwargs)
    return model


def _mobilenet_v3(size: str) -> Callable[..., nn.Module]:
    """``minimal`` is what the paper calls minimalistic: no hard-swish, no squeeze-and-excitation, kernels of 3."""

    def build(width: float, **kwargs: Any) -> nn.Module:
        name = f"tf_mobilenetv3_{size}_{round(width * 100):03d}"
        model: nn.Module = timm.create_model(name, **kwargs)
        return model

    return build


FAMILIES: dict[str, Callable[..., Any]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_large": _mobilenet_v3("large"),
    "mobilenet_v3_large_minimalistic": _mobilenet_v3("large_minimal"),
    "mobilenet_v3_small": _mobilenet_v3("small"),
    "mobilenet_v3_small_minimalistic": _mobilenet_v3("small_minimal"),
}


def network(family: str, width: float, device: str = "cpu") -> nn.Module:
    """The published ImageNet network (1,001 classes, as TensorFlow's) in eval mode."""
    import torch

    if device != "meta":
        model: nn.Module = FAMILIES[family](width, **TIMM)
    else:
        with NoInit(), torch.device("meta"):
            model = FAMILIES[family](width, **TIMM)
    return model.eval()


@cache
def network_features(family: str, width: float, resolution: int) -> Floats:
    """Feature row ``[features]`` of a published network."""
    model = network(family, width, "meta")
    return op_features(trace(model, 3, resolution), sum(p.numel() for p in model.parameters()))


@dataclass(frozen=True)
class Measured:
    """Networks with published latencies.

    Attributes:
        names: ``mobilenet_v2 0.5 192``.
        families: of each network.
        features: ``[n, features]``.
        ms: median latency, ``[n]``.
        px: side of the images.
    """

    names: list[str]
    families: list[str]
    features: Floats
    ms: Floats
    px: tuple[int, ...]

    def data(self, precision: str) -> Data:
        """As the fits take it."""
        return Data(self.features, self.ms, precision, tuple(self.families), self.px)


MLPERF_RPI4 = "latency/mlperf_rpi4.csv"
RPI4 = ("v2.1", "rpi4-tflite-v2.7.1-ruy")
"""Round and system of the reference set: TFLite 2.7.1 with ruy, 4 threads."""


def mlperf_rpi4(precision: str, system: tuple[str, str] = RPI4) -> Measured:
    """MLPerf Inference results of a Raspberry Pi 4: batch 1, end to end, median.

    Args:
        precision: of the checkpoints.
        system: round and system, as in the table.
    """
    table = read_table(data_file(MLPERF_RPI4))
    rows = [row for row in table if (row["round"], row["system"], row["precision"]) == (*system, precision)]
    keys = [(row["family"], float(row["width"]), int(row["resolution"])) for row in rows]
    return Measured(
        names=[f"{family} {width:g} {resolution}" for family, width, resolution in keys],
        families=["mobilenet_v3" if family.startswith("mobilenet_v3") else family for family, _, _ in keys],
        features=np.stack([network_features(*key) for key in keys]),
        ms=np.array([float(row["p50_ms"]) for row in rows]),
        px=tuple(resolution for _, _, resolution in keys),
    )
