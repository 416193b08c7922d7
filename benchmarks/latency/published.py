"""Networks of published tables other than those of ``networks`` and ``nasbench201``, and their latencies.

- ncnn on Raspberry Pi 3 and 5: what timm has of the networks of Tencent/ncnn's ``benchmark`` folder;
- MLPerf Tiny on microcontrollers: its four networks, ProxylessNAS and MobileNetV2 of TinyEngine's table;
- the look-up table of blocks of NSGANetV2 (Lu et al., 2020) on a desktop processor, summed up to whole networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.latency.networks import TIMM
from benchmarks.latency.networks import network as mobilenet
from benchmarks.latency.validation import Data
from benchmarks.support.data import data_file, read_table
from predictors.costs.network import op_features
from predictors.costs.tables import CostTables
from search_spaces import get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.genes import Floats
from search_spaces.operators.trace import trace_on


@dataclass(frozen=True)
class Table:
    """Measured networks, and what they are called."""

    names: tuple[str, ...]
    data: Data


def rows(file: str) -> list[dict[str, str]]:
    """A table of ``latency/``."""
    return read_table(data_file(f"latency/{file}"))


def proxylessnas(width: float = 1.0) -> nn.Module:
    """ProxylessNAS-Mobile (Cai, Zhu and Han, 2019), which timm does not name; a narrower one's head is narrower too."""
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.efficientnet import _create_effnet

    rounded = partial(round_channels, multiplier=width)

    blocks = [
        ["ds_r1_k3_s1_c16_noskip"], ["ir_r1_k5_s2_e3_c32", "ir_r1_k3_s1_e3_c32"],
        ["ir_r1_k7_s2_e3_c40", "ir_r1_k3_s1_e3_c40", "ir_r2_k5_s1_e3_c40"],
        ["ir_r1_k7_s2_e6_c80", "ir_r3_k5_s1_e3_c80"], ["ir_r1_k5_s1_e6_c96", "ir_r3_k5_s1_e3_c96"],
        ["ir_r1_k7_s2_e6_c192", "ir_r1_k7_s1_e6_c192", "ir_r2_k7_s1_e3_c192"], ["ir_r1_k7_s1_e6_c320"],
    ]  # fmt: skip
    model: nn.Module = _create_effnet(
        "mobilenetv2_100", False, block_args=decode_arch_def(blocks), stem_size=32, act_layer=nn.ReLU6,
        round_chs_fn=rounded, num_features=rounded(1280),
    )  # fmt: skip
    return model


class Autoencoder(nn.Module):
    """Of MLPerf Tiny's anomaly detection: ten layers of 128 and one of 8 on 640 numbers."""

    def __init__(self) -> None:
        super().__init__()
        widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(128, 640)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        out: Tensor = self.last(x)
        return out


class DSCNN(nn.Module):
    """Of MLPerf Tiny's keyword spotting (Zhang et al., 2017): 49 x 10 spectrograms, four separable convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 64, (10, 4), 2, (5, 1))
        self.blocks = nn.Sequential(
            *(m for _ in range(4) for m in (nn.Conv2d(64, 64, 3, 1, 1, groups=64), nn.ReLU(),
                                            nn.Conv2d(64, 64, 1), nn.ReLU()))
        )  # fmt: skip
        self.head = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))
        return out


class ResNet8(nn.Module):
    """Of MLPerf Tiny's image classification: three residual blocks of 16, 32 and 64 channels on 32 x 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        shapes = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        self.first = nn.ModuleList(nn.Conv2d(a, b, 3, s, 1) for a, b, s in shapes)
        self.second = nn.ModuleList(nn.Conv2d(b, b, 3, 1, 1) for _, b, _ in shapes)
        self.short = nn.ModuleList(nn.Conv2d(a, b, 1, s) if s > 1 else nn.Identity() for a, b, s in shapes)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for first, second, short in zip(self.first, self.second, self.short, strict=True):
            x = F.relu(second(F.relu(first(x))) + short(x))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def _named(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False)


Shape = tuple[int, ...]
SQUARE: Shape = (3, 224, 224)

NCNN: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "mobilenet": (lambda: mobilenet("mobilenet_v1", 1.0, "meta"), SQUARE),
    "mobilenet_v2": (lambda: mobilenet("mobilenet_v2", 1.0, "meta"), SQUARE),
    "mobilenet_v3": (lambda: mobilenet("mobilenet_v3_large", 1.0, "meta"), SQUARE),
    "mnasnet": (_named("mnasnet_100"), SQUARE),
    "proxylessnasnet": (proxylessnas, SQUARE),
    "efficientnet_b0": (_named("efficientnet_b0"), SQUARE),
    "efficientnetv2_b0": (_named("tf_efficientnetv2_b0"), SQUARE),
    "regnety_400m": (_named("regnety_004"), SQUARE),
    "resnet18": (_named("resnet18"), SQUARE),
    "resnet50": (_named("resnet50"), SQUARE),
    "vgg16": (_named("vgg16"), SQUARE),
}

TINY: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "ad": (Autoencoder, (640,)),
    "ic": (ResNet8, (3, 32, 32)),
    "kws": (DSCNN, (1, 49, 10)),
    "vww": (lambda: _mobilenet_v1(0.25, 2), (3, 96, 96)),
}

TINYENGINE: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "mbv2-w0.3-r64": (lambda: mobilenet("mobilenet_v2", 0.3, "meta"), (3, 64, 64)),
    "proxyless-w0.3-r64": (lambda: proxylessnas(0.3), (3, 64, 64)),
    "proxyless-w0.3-r176": (lambda: proxylessnas(0.3), (3, 176, 176)),
}


def _mobilenet_v1(width: float, classes: int) -> nn.Module:
    from timm.models.efficientnet import _gen_mobilenet_v1

    model: nn.Module = _gen_mobilenet_v1("mobilenetv1_100", width, **(TIMM | {"num_classes": classes}))
    return model


def features(build: Callable[[], nn.Module], shape: Shape) -> Floats:
    """Feature row ``[features]`` of a network on an input of that shape (no batch dimension)."""
    with NoInit(), torch.device("meta"):
        model = build().eval()
    ops = trace_on(model, torch.empty(1, *shape, device="meta"))
    return op_features(ops, sum(p.numel() for p in model.parameters()))


@cache
def _features(group: str, name: str) -> Floats:
    return features(*{"ncnn": NCNN, "tiny": TINY, "tinyengine": TINYENGINE}[group][name])


def ncnn(device: str, threads: int, precision: str) -> Table:
    """Networks of ncnn's own benchmark on a board, fastest of its runs.

    Args:
        device: how the board's name starts, ``Raspberry Pi 3``.
        precision: ``int8``; ``fp32`` are files in floating point, which ncnn may store and compute in 16 bits.
    """
    found: dict[str, float] = {}
    for row in rows("ncnn_rpi.csv"):
        name = row["model"].removesuffix("_int8")
        same = row["device"].startswith(device) and "Overclock" not in row["device"]
        if same and int(row["threads"]) == threads and row["precision"][:4] == precision and name in NCNN:
            found[name] = float(row["min_ms"])
    return _table("ncnn", found, precision)


def mlperf_tiny(path: str) -> Table:
    """MLPerf Tiny's four networks of one submission, int8, by how its path starts."""
    found = {row["benchmark"]: float(row["latency_ms"]) for row in rows("mlperf_tiny_mcu.csv") if
             row["path"].startswith(path) and row["benchmark"] in TINY}  # fmt: skip
    return _table("tiny", found, "int8")


def tinyengine(framework: str) -> Table:
    """The networks of TinyEngine's table that can be built here, int8."""
    found = {row["network"]: float(row["latency_ms"]) for row in rows("tinyengine_stm32f746.csv") if
             row["framework"] == framework and row["network"] in TINYENGINE}  # fmt: skip
    return _table("tinyengine", found, "int8")


def _table(group: str, found: dict[str, float], precision: str) -> Table:
    names = tuple(sorted(found))
    matrix = np.stack([_features(group, name) for name in names])
    shapes = [{"ncnn": NCNN, "tiny": TINY, "tinyengine": TINYENGINE}[group][name][1] for name in names]
    px = tuple(min(shape[1:]) if shape[0] == 3 else 0 for shape in shapes)
    return Table(names, Data(matrix, np.array([found[n] for n in names]), precision, names, px))


def ofa_on_desktop(networks: int, seed: int = 0) -> Table:
    """Random networks of the space of Once-for-All on an Intel i7-8700K, fp32: sums of the blocks' latencies.

    Families are widths and ranges of resolution.
    """
    blocks = {row["key"]: float(row["mean_ms"]) for row in rows("ofa_mbconv_lut_i7-8700K.csv.gz")}
    names: list[str] = []
    ms, matrices, families, px = [], [], [], []
    for name in ("ofa-mbv3-w1.0", "ofa-mbv3-w1.2"):
        space = get_space(name)
        vectors = space.sample(np.random.default_rng(seed), networks // 2)
        matrices.append(CostTables(space, Interface(3, 1000)).features(vectors))
        for vector in vectors:
            architecture = space.decode(vector)
            names.append(f"{name} {architecture.id}")
            ms.append(sum(blocks[key] for key in _keys(architecture, name.endswith("1.2"))))
            px.append(architecture.resolution)
            families.append(f"{name} {architecture.resolution // 32 * 32}")
    return Table(tuple(names), Data(np.concatenate(matrices), np.array(ms), "fp32", tuple(families), tuple(px)))


_OFA = {False: (16, 16, 24, 40, 80, 112, 160, 960, 1280), True: (24, 24, 32, 48, 96, 136, 192, 1152, 1536)}
_STRIDES, _GATED = (2, 2, 2, 1, 2), (0, 1, 0, 1, 1)


def _keys(architecture: Architecture, wide: bool) -> Iterator[str]:
    """Keys of the table that make up a network."""
    genes = dict(architecture.genes)
    stem, first, *stages, expanded, mixed = _OFA[wide]
    side = int(architecture.resolution)
    half = (side + 1) // 2
    yield f"first_conv-input:{side}x{side}x3-output:{half}x{half}x{stem}"
    side, width = half, first
    yield f"MBConv-input:{side}x{side}x{stem}-output:{side}x{side}x{width}-expand:1-kernel:3-stride:1-idskip:1-se:0"
    for stage, (out, stride, gated) in enumerate(zip(stages, _STRIDES, _GATED, strict=True), start=1):
        for block in range(int(genes[f"s{stage}.depth"])):
            step = stride if block == 0 else 1
            after = -(-side // step)
            yield (
                f"MBConv-input:{side}x{side}x{width}-output:{after}x{after}x{out}-"
                f"expand:{genes[f's{stage}.b{block}.expand']}-kernel:{genes[f's{stage}.b{block}.kernel']}-"
                f"stride:{step}-idskip:{int(step == 1 and width == out)}-se:{gated}"
            )
            side, width = after, out
    yield f"final_expand_layer-input:{side}x{side}x{width}-output:{side}x{side}x{expanded}"
    yield f"feature_mix_layer-input:1x1x{expanded}-output:1x1x{mixed}"
    yield f"classifier-input:{mixed}-output:1000"
