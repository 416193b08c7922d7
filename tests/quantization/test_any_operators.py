"""int8 of networks that nobody here wrote: their file computes what the simulator does, or a refusal says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.export.manifest import open_model
from nas.quantization.graph import capture
from nas.quantization.grids import grid_values
from nas.quantization.operators import is_function, source_of
from nas.quantization.quantize import quantize
from nas.runtimes.table import write_model
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from tests.support.long_forms import long_form

SIDE = 32


class Pieces(nn.Module):
    """Halves of channels go different ways and are put together again; its last layer's result is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).relu().chunk(2, 1)
        x = torch.cat([left, self.mix(right)], 1)
        a, b, c = x.split([4, 4, 8], dim=1)
        x = torch.cat([c, a + b, b], 1)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1)).flatten(1)


@pytest.mark.parametrize(
    "name", long_form(["pieces"], ["ghostnet_050", "test_byobnet", "cs3darknet_focus_s", "regnety_002", "resnest14d"])
)
def test_the_file_computes_what_the_simulator_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = (Pieces() if name == "pieces" else timm.create_model(name, num_classes=5)).eval()
    images = torch.randn(8, 3, SIDE, SIDE)
    quantized = quantize(model, images)
    write_model("onnx", quantized, (3, SIDE, SIDE), tmp_path / "model.onnx", {}, None)
    wanted = quantized(images)
    found = torch.from_numpy(open_model(tmp_path / "model.onnx")(images.numpy()))
    assert float((found - wanted).abs().max()) <= 0.005 * float(wanted.max() - wanted.min())


class Curve(nn.Module):
    def __init__(self, curve: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.curve = curve

    def forward(self, x: Tensor) -> Tensor:
        return self.curve(x)


@pytest.mark.parametrize(
    "curve",
    [functional.gelu, functional.mish, lambda x: x * 0.7 + 0.1, lambda x: (x.abs() + 0.1).log(), functional.elu_],
    ids=["gelu", "mish", "line", "log", "elu"],
)
def test_no_value_of_a_function_is_half_way_between_two_integers(curve: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    curves = [layer for _ in range(6) for layer in (nn.Conv2d(6, 6, 1), Curve(curve))]
    quantized = quantize(nn.Sequential(nn.Conv2d(3, 6, 1), *curves, nn.Conv2d(6, 4, 1)).eval(), torch.randn(4, 3, 8, 8))
    seen = 0
    for node in quantized.graph.graph.nodes:
        if node.op == "call_function" and is_function(node):
            values = grid_values(quantized.activations[source_of(node).name])
            units = node.target(values, *node.args[1:], **node.kwargs) / quantized.activations[node.name].scale
            units = units[units.isfinite()]
            assert float((units - units.floor() - 0.5).abs().min()) > 9e-5
            seen += 1
    assert seen >= 6


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.rows, self.head = nn.Conv2d(3, 8, 3), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean(3).transpose(1, 2)
        return self.head(self.rows(x)[0][:, -1])  # type: ignore[no-any-return]


class Sounds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x.flatten(2)).mean(2))  # type: ignore[no-any-return]


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2)
        return self.head(torch.einsum("nac,nbc->nab", x, x).flatten(1))  # type: ignore[no-any-return]


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.place = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), nn.Parameter(torch.ones(8, 30, 30))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.stem(x) * self.place).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Recurrent(), r"no int8 form is known of the operator gru in rows"),
        (Sounds(), r"no int8 form is known of the operator conv1d in stem"),
        (Products(), r"it has attention layers \(einsum"),
        (Positions(), r"mul \(.*test_any_operators.py:\d+\) reads weights of shape \(8, 30, 30\)"),
    ],
)
def test_what_has_no_int8_form_is_named(network: nn.Module, message: str) -> None:
    """The operator, the module, and the line of code."""
    with pytest.raises(UserError, match=message) as raised:
        capture(network.eval(), (3, SIDE, SIDE))
    assert "test_any_operators.py:" in str(raised.value)
    assert str(raised.value).endswith("use `precision` fp32")
    assert len(str(raised.value).splitlines()) == 1
