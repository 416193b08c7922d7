"""The ONNX graph that is written from a flat network: against PyTorch's exporter, and against the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from nas.candidates.calibrate import calibrate  # noqa: E402
from nas.quantization.decomposed import decompose  # noqa: E402
from nas.quantization.graph import capture  # noqa: E402
from nas.quantization.quantize import quantize  # noqa: E402
from nas.runtimes import onnx_export  # noqa: E402
from nas.runtimes.onnx import Onnx  # noqa: E402
from nas.runtimes.onnx_graph import write_graph  # noqa: E402
from nas.runtimes.onnx_operators import Unwritable  # noqa: E402
from nas.runtimes.table import dialect_for  # noqa: E402
from search_spaces import get_space  # noqa: E402
from search_spaces.architecture import Interface  # noqa: E402
from search_spaces.builders.timm_compat import timm  # noqa: E402
from tests.fixtures.first_layout.make_fixture import canonical  # noqa: E402
from tests.kits import runtime as kit  # noqa: E402

F = nn.functional
SHAPE = (3, 16, 16)


class Many(nn.Module):
    """Operators that the runtimes' kit lacks, each in the forms that families use."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm, self.wide, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.plain = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.register_buffer("gain", torch.linspace(0.5, 1.5, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.stem(x))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        x = (
            x
            + F.avg_pool2d(F.pad(F.relu6(x), (1, 2, 0, 1)), 2, 1, ceil_mode=True, count_include_pad=False)[
                :, :, :4, 1:5
            ]
        )
        y = F.gelu(self.wide(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        x = x + y * self.gain.reshape(1, 8, 1, 1)
        x = self.plain(x) * torch.sigmoid(x.mean((2, 3), keepdim=True)).expand_as(x)
        x = torch.cat([x[:, :4], F.hardtanh(x[:, 4:])], 1) / 2.0 + 0.25
        return self.head(torch.tanh(x.transpose(2, 3)).flatten(2).mean(2))


def many() -> nn.Module:
    torch.manual_seed(0)
    return Many().eval()


def noise(shape: tuple[int, int, int], count: int = 16) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def outputs(model: Any, folder: Path, images: Tensor) -> np.ndarray[Any, Any]:
    """What onnxruntime computes of a model."""
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return Onnx().open(folder / "model.onnx")(images)


@pytest.mark.parametrize("name", ["onnx", pytest.param("onnx-uint8", marks=pytest.mark.long)])
def test_it_is_the_graph_of_torchs_exporter(name: str, tmp_path: Path) -> None:
    """Operators, attributes, constants and wiring; only names differ."""
    flat = decompose(kit.quantized(), dialect_for("onnx", name))
    own = write_graph(flat, kit.SHAPE, None)
    torchs = onnx_export.by_torch(flat, kit.SHAPE, None)
    assert canonical(own.graph) == canonical(torchs.graph)
    results = [outputs(model, tmp_path, kit.images()) for model in (own, torchs)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("form", ["int8", pytest.param("fp32", marks=pytest.mark.long)])
def test_it_computes_what_the_graph_of_torchs_exporter_computes(form: str, tmp_path: Path) -> None:
    """To the bit. It is simpler there: an Expand to a known shape needs no Shape and Concat. And it keeps biases of
    zeros, which that exporter removes."""
    images = noise(SHAPE)
    quantized = quantize(many(), images)
    flat = capture(many(), SHAPE) if form == "fp32" else decompose(quantized, dialect_for("onnx", None))
    models = write_graph(flat, SHAPE, None), onnx_export.by_torch(flat, SHAPE, None)
    own, torchs = (outputs(model, tmp_path, images) for model in models)
    np.testing.assert_array_equal(own, torchs)


def distance(given: Any, wanted: Any) -> float:
    """Size of the difference of two arrays, as a share of the second."""
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))


def space(name: str) -> nn.Module:
    found = get_space(name)
    return found.build(found.smallest, Interface(3, 10)).eval()


NETWORKS = {
    "mbv3-tiny": lambda: space("mbv3-tiny"),
    "mobilenetv2": lambda: timm.create_model("mobilenetv2_050", num_classes=10).eval(),
    "efficientnet_lite": lambda: timm.create_model("efficientnet_lite0", num_classes=10).eval(),
    "se": lambda: timm.create_model("test_efficientnet", num_classes=10).eval(),
    "resnet": lambda: timm.create_model("resnet10t", num_classes=10).eval(),
    "convnext": lambda: space("timm:convnext_atto:resolution=32"),
    "many": many,
}


LONG = {"mobilenetv2", "efficientnet_lite", "resnet"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in NETWORKS]
)
def test_families_are_written_without_torchs_exporter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "by_torch", None)
    torch.manual_seed(0)
    model, shape = NETWORKS[name](), SHAPE if name == "many" else (3, 32, 32)
    images = noise(shape)
    calibrate(model, images)
    Onnx().write(model, shape, tmp_path / "fp32.onnx", {}, dialect_for("onnx", None))
    with torch.no_grad():
        real = model(images).numpy()
    assert distance(Onnx().open(tmp_path / "fp32.onnx")(images), real) <= 1e-3
    quantized = quantize(model, images)
    Onnx().write(quantized, shape, tmp_path / "int8.onnx", {}, dialect_for("onnx", None))
    assert distance(Onnx().open(tmp_path / "int8.onnx")(images), quantized(images).numpy()) <= 0.05


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).unsqueeze(1)
        return self.head(F.scaled_dot_product_attention(x, x, x).mean((1, 2)))


def test_a_network_with_attention_goes_through_torchs_exporter(tmp_path: Path) -> None:
    model, images = Attends().eval(), noise((3, 4, 4))
    Onnx().write(model, (3, 4, 4), tmp_path / "model.onnx", {}, dialect_for("onnx", None))
    with torch.no_grad():
        np.testing.assert_allclose(Onnx().open(tmp_path / "model.onnx")(images), model(images), atol=1e-5)


class Rolls(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, 1, 2).flatten(1)


def test_an_operator_without_a_row_is_named() -> None:
    with pytest.raises(Unwritable, match=r"aten\.roll"):
        write_graph(capture(Rolls().eval(), (3, 4, 4)), (3, 4, 4), None)
