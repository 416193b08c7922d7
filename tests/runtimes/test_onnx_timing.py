"""Files for timing: the operators of the exported network, without its weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from nas.quantization.graph import capture  # noqa: E402
from nas.quantization.quantize import outline, quantize  # noqa: E402
from nas.runtimes.onnx import Onnx  # noqa: E402
from nas.runtimes.onnx_export import export_model  # noqa: E402
from nas.runtimes.onnx_timing import shrink  # noqa: E402
from nas.runtimes.table import dialect_for  # noqa: E402
from search_spaces import get_space  # noqa: E402
from search_spaces.architecture import Interface  # noqa: E402
from search_spaces.builders.timm_compat import timm  # noqa: E402

SIDE = 32


def tiny() -> nn.Module:
    space = get_space("mbv3-tiny")
    return space.build(space.smallest, Interface(3, 10)).eval()


def executed(data: bytes, folder: Path) -> Counter[str]:
    """Operators that onnxruntime runs for a file, after its own fusions."""
    (folder / "in.onnx").write_bytes(data)
    Onnx().open(folder / "in.onnx", optimized=folder / "out.onnx")
    return Counter(n.op_type for n in onnx.load(folder / "out.onnx").graph.node)


@pytest.mark.parametrize("name", ["mbv3-tiny", pytest.param("resnet10t", marks=pytest.mark.long)])
def test_onnxruntime_runs_what_it_runs_of_the_exported_file(name: str, tmp_path: Path) -> None:
    model = tiny() if name == "mbv3-tiny" else timm.create_model(name, num_classes=10).eval()
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    unsigned = dialect_for("onnx", "onnx-uint8")
    Onnx().write(quantize(model, images), (3, SIDE, SIDE), tmp_path / "exported.onnx", {}, unsigned)
    expected = executed((tmp_path / "exported.onnx").read_bytes(), tmp_path)
    data = Onnx().timing_file(outline(model, (3, SIDE, SIDE)), (3, SIDE, SIDE), unsigned)
    assert executed(data, tmp_path) == expected
    assert expected["QLinearConv"] > 0


def test_the_network_that_is_outlined_stays() -> None:
    """A bundle writes its float file of the same graph: gates that int8 folds into layers are operators there."""
    model = tiny()
    graph, signed = capture(model, (3, SIDE, SIDE)), dialect_for("onnx", "onnx")
    float_file, alone = (Onnx().timing_file(each, (3, SIDE, SIDE), signed) for each in (graph, model))
    outline(graph, (3, SIDE, SIDE))
    assert Onnx().timing_file(graph, (3, SIDE, SIDE), signed) == float_file
    kinds = [Counter(n.op_type for n in onnx.load_from_string(data).graph.node) for data in (float_file, alone)]
    assert kinds[0] == kinds[1]
    assert kinds[0]["HardSigmoid"] > 0


@pytest.mark.parametrize("name", ["onnx", "onnx-uint8"])
def test_signed_and_unsigned_activations(name: str, tmp_path: Path) -> None:
    model = tiny()
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    data = Onnx().timing_file(outline(model, (3, SIDE, SIDE)), (3, SIDE, SIDE), dialect_for("onnx", name))
    assert executed(data, tmp_path)["QLinearConv"] == convolutions
    graph = onnx.load_from_string(data).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zeros = {stored[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.INT8 if name == "onnx" else onnx.TensorProto.UINT8}


def filled(model: Any, fill: float) -> Any:
    """The network with a number in place of its weight matrices."""
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.ndim > 1 and value.size >= 16:
            constant = np.full_like(value, np.float32(1 / np.prod(value.shape[1:])) if fill else 0)
            tensor.CopyFrom(onnx.numpy_helper.from_array(constant, tensor.name))
    return model


def test_a_shrunk_file_is_the_network_with_constant_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = export_model(tiny(), (3, SIDE, SIDE), dialect_for("onnx", None), batch=1)
    small = shrink(plain).SerializeToString()
    (tmp_path / "small.onnx").write_bytes(small)
    assert executed(small, tmp_path) == executed(plain.SerializeToString(), tmp_path)
    (tmp_path / "full.onnx").write_bytes(filled(plain, 1).SerializeToString())
    images = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
    shrunk, full = (Onnx().open(tmp_path / f"{name}.onnx")(images) for name in ("small", "full"))
    assert np.isfinite(shrunk).all()
    assert shrunk == pytest.approx(full, rel=1e-5)
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "full.onnx").stat().st_size / 2
